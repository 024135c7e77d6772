//! Tables by ids: a hash of a few instructions. Ids are counted or drawn by the master, so that nobody chooses many that fall
//! together; for what others choose the standard library's tables are right.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

/// A map by ids.
pub type IdMap<K, V> = HashMap<K, V, BuildHasherDefault<IdHasher>>;

/// A set of ids.
pub type IdSet<K> = HashSet<K, BuildHasherDefault<IdHasher>>;

/// A turn and a multiplication by the golden ratio, which keeps numbers in a row apart. Other crates have it in their own code:
/// a call takes longer than that.
#[derive(Debug, Clone, Copy, Default)]
pub struct IdHasher(u64);

impl IdHasher {
    #[inline]
    fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl Hasher for IdHasher {
    #[inline]
    fn finish(&self) -> u64 {
        // The table looks at the highest and at the lowest bits.
        self.0 ^ (self.0 >> 32)
    }

    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            for (to, from) in word.iter_mut().zip(chunk) {
                *to = *from;
            }
            self.add(u64::from_le_bytes(word));
        }
    }

    #[inline]
    fn write_u32(&mut self, value: u32) {
        self.add(u64::from(value));
    }

    #[inline]
    fn write_u64(&mut self, value: u64) {
        self.add(value);
    }

    #[inline]
    fn write_i64(&mut self, value: i64) {
        self.add(value.cast_unsigned());
    }

    #[inline]
    fn write_usize(&mut self, value: usize) {
        // A length, which is the same for all ids of a kind.
        let _ = value;
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher as _;

    use super::*;
    use crate::id::{TaskId, UserId};

    #[test]
    fn ids_in_a_row_and_drawn_ones_are_spread() {
        let build = BuildHasherDefault::<IdHasher>::default();
        let spread = |hashes: Vec<u64>| {
            // Of 1024 thrown at random into as many places, about 650 places have one.
            let places: HashSet<u64> = hashes.iter().map(|hash| hash & 1023).collect();
            assert!(places.len() > 500, "{} places", places.len());
            let tags: HashSet<u64> = hashes.iter().map(|hash| hash >> 57).collect();
            assert!(tags.len() > 120, "{} tags", tags.len());
        };
        spread((0..1024).map(|n| build.hash_one(UserId(n))).collect());
        // Some kinds of UUIDs begin with the time.
        let drawn = |n: u64| {
            let random = n.wrapping_mul(0xd134_2543_de82_ef95);
            TaskId(uuid::Uuid::from_u64_pair(0x0190_0000_0000_7000 | (n << 16), random))
        };
        spread((0..1024).map(|n| build.hash_one(drawn(n))).collect());
    }
}
