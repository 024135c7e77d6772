//! Which ids a machine keeps to itself (A11): those of its system accounts and groups, and of groups whose members have
//! power over it. No task runs as one of them unless that machine's administrator says so. Reading the machine's files
//! is the caller's.

use serde::{Deserialize, Serialize};

/// Groups whose members can become root, read what root reads, or command what runs as root, whatever number a machine
/// gives them.
const POWER: [&str; 25] = [
    "root",
    "wheel",
    "sudo",
    "admin",
    "adm",
    "shadow",
    "disk",
    "kmem",
    "mem",
    "kvm",
    "libvirt",
    "libvirtd",
    "libvirt-qemu",
    "qemu",
    "vboxusers",
    "docker",
    "podman",
    "containerd",
    "lxd",
    "lxc",
    "incus",
    "incus-admin",
    "microk8s",
    "systemd-journal",
    "google-sudoers",
];

/// Where ordinary ids begin on a machine that doesn't say.
const ORDINARY: u32 = 1000;

/// Ids that a machine's administrator gives to tasks although the machine keeps them to itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AllowedIds {
    /// User ids.
    pub uids: Vec<u32>,
    /// Group ids.
    pub gids: Vec<u32>,
}

/// An id that the machine keeps to itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SystemId {
    /// A user id.
    #[error(
        "uid {uid} belongs to {name}, an account of the system on this machine: link another uid, or list it under \
         agent.allowed_ids.uids"
    )]
    User {
        /// The uid.
        uid: u32,
        /// The account.
        name: String,
    },
    /// A group id.
    #[error(
        "gid {gid} belongs to {name}, a group of the system on this machine: link another gid, or list it under \
         agent.allowed_ids.gids"
    )]
    Group {
        /// The gid.
        gid: u32,
        /// The group.
        name: String,
    },
    /// A group id that makes powerful.
    #[error(
        "gid {gid} belongs to {name}, a group with power over this machine: link another gid, or list it under \
         agent.allowed_ids.gids"
    )]
    Power {
        /// The gid.
        gid: u32,
        /// The group.
        name: String,
    },
}

/// What a machine's own files say about ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemIds {
    uid_min: u32,
    gid_min: u32,
    /// Name, uid, gid.
    users: Vec<(String, u32, u32)>,
    /// Name, gid.
    groups: Vec<(String, u32)>,
}

impl SystemIds {
    /// Reads the texts of `/etc/passwd`, `/etc/group` and `/etc/login.defs`. What isn't a line of theirs is passed over.
    #[must_use]
    pub fn parse(passwd: &str, group: &str, login_defs: &str) -> Self {
        let fields = |line: &str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
        let users = passwd.lines().map(fields).filter_map(|field| {
            Some((field.first()?.clone(), field.get(2)?.parse().ok()?, field.get(3)?.parse().ok()?))
        });
        let groups = group
            .lines()
            .map(fields)
            .filter_map(|field| Some((field.first()?.clone(), field.get(2)?.parse().ok()?)));
        let minimum = |key: &str| {
            let mut values = login_defs.lines().filter_map(|line| {
                let mut words = line.split_ascii_whitespace();
                (words.next() == Some(key)).then(|| words.next()?.parse().ok()).flatten()
            });
            values.next_back().unwrap_or(ORDINARY)
        };
        Self {
            uid_min: minimum("UID_MIN"),
            gid_min: minimum("GID_MIN"),
            users: users.collect(),
            groups: groups.collect(),
        }
    }

    /// Whether a task may run with these ids; parts that aren't set are fine. Numbers that nobody has are, too. uid 0 and
    /// what goes with it is nobody on the machine (D5), so that it isn't asked about.
    ///
    /// # Errors
    /// Whose the id is and what to do.
    pub fn check(&self, uid: Option<u32>, gid: Option<u32>, allowed: &AllowedIds) -> Result<(), SystemId> {
        if uid == Some(0) {
            return Ok(());
        }
        if let Some(uid) = uid.filter(|uid| *uid < self.uid_min && !allowed.uids.contains(uid))
            && let Some((name, ..)) = self.users.iter().find(|(_, number, _)| *number == uid)
        {
            return Err(SystemId::User { uid, name: name.clone() });
        }
        gid.map_or(Ok(()), |gid| self.check_group(gid, None, allowed))
    }

    /// Whether a task may be in a group; `name` is what another source than the files calls it.
    ///
    /// # Errors
    /// Whose the id is and what to do.
    pub fn check_group(&self, gid: u32, name: Option<&str>, allowed: &AllowedIds) -> Result<(), SystemId> {
        // Group 0 is refused as such; no list lets it in.
        if allowed.gids.contains(&gid) && gid != 0 {
            return Ok(());
        }
        let listed = self.groups.iter().filter(|(_, number)| *number == gid).map(|(name, _)| name.as_str());
        let names: Vec<&str> = listed.chain(name).collect();
        if let Some(name) = names.iter().find(|name| POWER.contains(name)) {
            return Err(SystemId::Power { gid, name: (*name).to_owned() });
        }
        if gid >= self.gid_min {
            return Ok(());
        }
        // A system account's own group is one even when it has no line.
        let accounts = self.users.iter().filter(|(_, uid, own)| *own == gid && *uid < self.uid_min);
        let accounts = accounts.map(|(name, ..)| name.as_str());
        match names.into_iter().chain(accounts).find(|name| *name != "users") {
            Some(name) => Err(SystemId::Group { gid, name: name.to_owned() }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nwww-data:x:33:33::/var/www:/usr/sbin/nologin\n\
                          _apt:x:42:65534::/:/usr/sbin/nologin\nsvc:x:998:997::/:/bin/false\n\
                          alice:x:1000:1000:,,,:/home/alice:/bin/bash\n+nis\n";
    const GROUP: &str = "root:x:0:\ndisk:x:6:\nwww-data:x:33:\nshadow:x:42:\nusers:x:100:alice\nalice:x:1000:\n\
                         docker:x:1001:alice\nlab:x:2000:alice\nbroken\n";

    fn ids() -> SystemIds {
        SystemIds::parse(PASSWD, GROUP, "# UID_MIN 5\nUID_MIN\t\t 1000\nGID_MIN 1000\nSYS_UID_MIN 100\n")
    }

    #[test]
    fn a11_ids_of_the_system_are_refused() {
        let none = AllowedIds::default();
        let refused = |uid: u32, gid: u32| {
            ids().check(Some(uid), Some(gid), &none).expect_err("the system's").to_string()
        };
        assert!(refused(33, 5001).starts_with("uid 33 belongs to www-data, an account of the system"));
        assert!(refused(5001, 42).starts_with("gid 42 belongs to shadow, a group with power"));
        assert!(refused(1000, 6).contains("disk"));
        assert!(refused(1000, 33).contains("a group of the system"));
        assert!(refused(5001, 997).contains("svc"), "a system account's group without a line");
        assert!(refused(1000, 1001).contains("docker"), "power has no number");
        assert!(refused(5001, 0).contains("root"));
        assert!(refused(33, 33).contains("agent.allowed_ids.uids"));
        assert!(ids().check(None, Some(42), &none).is_err() && ids().check(Some(33), None, &none).is_err());
    }

    #[test]
    fn a11_ids_of_people_and_of_nobody_pass() {
        let none = AllowedIds::default();
        for (uid, gid) in
            [(1000, 1000), (200, 300), (5001, 5001), (1000, 100), (65_533, 65_533), (0, 0), (0, 42)]
        {
            assert_eq!(ids().check(Some(uid), Some(gid), &none), Ok(()), "{uid}:{gid}");
        }
        assert_eq!(ids().check(None, None, &none), Ok(()));
    }

    #[test]
    fn a11_an_administrator_may_list_them() {
        let allowed = AllowedIds { uids: vec![33], gids: vec![42, 33, 0] };
        assert_eq!(ids().check(Some(33), Some(42), &allowed), Ok(()));
        assert!(ids().check(Some(33), Some(6), &allowed).is_err());
        assert!(ids().check(Some(33), Some(0), &allowed).is_err(), "never root's group");
    }

    #[test]
    fn a11_a_machine_has_its_own_border() {
        let ids =
            SystemIds::parse("old:x:600:600::/:/bin/sh\n", "old:x:600:\n", "UID_MIN 500\nGID_MIN 500\n");
        assert_eq!(ids.check(Some(600), Some(600), &AllowedIds::default()), Ok(()));
        let ids = SystemIds::parse("old:x:600:600::/:/bin/sh\n", "old:x:600:\n", "");
        assert!(ids.check(Some(600), Some(600), &AllowedIds::default()).is_err());
    }
}
