//! Directories as tasks leave them.

use super::*;
use std::os::unix::fs::{PermissionsExt, symlink};

#[test]
fn r41_whatever_a_task_left_is_removed_and_nothing_else() {
    let place = std::env::temp_dir().join(format!("launch-empty-{}", std::process::id()));
    let outside = place.join("outside");
    fs::create_dir_all(&outside).unwrap();
    fs::write(outside.join("kept"), "x").unwrap();
    let dir = place.join("dir");
    fs::create_dir_all(dir.join("a/b/c/d")).unwrap();
    fs::write(dir.join("a/b/file"), "x").unwrap();
    fs::create_dir_all(dir.join(".muster-0/full")).unwrap();
    fs::write(dir.join(".muster-1"), "in the way").unwrap();
    symlink(&outside, dir.join("a/link")).unwrap();
    symlink(&outside, dir.join("link")).unwrap();
    fs::set_permissions(dir.join("a/b"), fs::Permissions::from_mode(0o000)).unwrap();
    // Deeper than any process may have descriptors, or a path be long.
    std::env::set_current_dir(&dir).unwrap();
    for _ in 0..3000 {
        fs::create_dir("deep").unwrap();
        std::env::set_current_dir("deep").unwrap();
    }
    std::env::set_current_dir("/").unwrap();
    for i in 0..3 * BATCH {
        fs::write(dir.join(format!("a/f{i}")), "").unwrap();
    }
    empty(&dir).unwrap();
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
    assert!(outside.join("kept").exists());
    remove(&place).unwrap();
    remove(&place).unwrap();
    assert!(!place.exists());
}

/// MG5: the end of a usual task doesn't wait for the disk's lock of renames.
#[test]
fn a04_what_is_as_deep_as_usual_is_removed_where_it_is() {
    use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
    let place = std::env::temp_dir().join(format!("launch-usual-{}", std::process::id()));
    let dir = place.join("dir");
    let below = |depth| format!("{depth}{}", "/d".repeat(depth));
    for depth in 0..usize::try_from(SHALLOW).unwrap() {
        fs::create_dir_all(dir.join(below(depth))).unwrap();
        fs::write(dir.join(below(depth)).join("f"), "x").unwrap();
    }
    let watch = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).unwrap();
    watch.add_watch(&dir, AddWatchFlags::IN_MOVED_TO).unwrap();
    empty(&dir).unwrap();
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
    assert_eq!(watch.read_events().unwrap_err(), nix::errno::Errno::EAGAIN);
    // One that is deeper is.
    fs::create_dir_all(dir.join(below(64))).unwrap();
    empty(&dir).unwrap();
    assert!(!watch.read_events().unwrap().is_empty());
    remove(&place).unwrap();
}

/// T3: what was there before has no bound; what comes meanwhile has.
#[test]
fn a04_however_much_a_task_leaves_is_removed_and_only_newcomers_are_bounded() {
    let place = std::env::temp_dir().join(format!("launch-many-{}", std::process::id()));
    let dir = place.join("dir");
    let fill = || {
        for name in ["a", "b/c/d"] {
            for i in 0..200 {
                fs::create_dir_all(dir.join(name).join(i.to_string())).unwrap();
                fs::write(dir.join(name).join(i.to_string()).join("f"), "").unwrap();
            }
        }
    };
    fill();
    let later = SystemTime::now() + Duration::from_secs(60);
    empty_since(&dir, later, 10).unwrap();
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
    // As if all had come since.
    fill();
    let refused = empty_since(&dir, UNIX_EPOCH, 10);
    assert!(refused.is_err_and(|e| e.to_string().contains("goes on filling")));
    let left = ["a", "b/c/d"].map(|name| fs::read_dir(dir.join(name)).map_or(0, Iterator::count));
    assert!(left.iter().sum::<usize>() > 100, "{left:?}");
    remove(&place).unwrap();
}

#[test]
fn a04_what_is_mounted_in_a_directory_of_a_task_is_left_alone() {
    use nix::mount::{MsFlags, mount};
    use nix::sched::{CloneFlags, unshare};
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let place = std::env::temp_dir().join(format!("launch-mounted-{}", std::process::id()));
    let mounted = place.join("dir/mounted");
    fs::create_dir_all(&mounted).unwrap();
    let tried = {
        let (dir, mounted) = (place.join("dir"), mounted.clone());
        // The mount is this thread's alone.
        std::thread::spawn(move || {
            let none = None::<&str>;
            unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_FS).unwrap();
            mount(none, "/", none, MsFlags::MS_PRIVATE | MsFlags::MS_REC, none).unwrap();
            mount(none, &mounted, Some("tmpfs"), MsFlags::empty(), Some("mode=0755")).unwrap();
            fs::write(mounted.join("kept"), "x").unwrap();
            let emptied = empty(&dir).map_err(|e| e.to_string());
            (emptied, fs::metadata(&mounted).unwrap().permissions().mode(), mounted.join("kept").exists())
        })
    };
    let (emptied, mode, kept) = tried.join().unwrap();
    assert!(emptied.is_err_and(|e| e.contains("is mounted")) && kept, "{mode:o}");
    assert_eq!(mode & 0o777, 0o755);
    remove(&place).unwrap();
}

/// F3: a descriptor that was handed on is good for nothing once its directory has been taken away.
#[test]
fn a04_who_holds_a_directory_still_makes_nothing_in_it() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let place = std::env::temp_dir().join(format!("launch-held-{}", std::process::id()));
    let held = place.join("dir/a/b");
    fs::create_dir_all(&held).unwrap();
    std::os::unix::fs::chown(&held, Some(5001), Some(5001)).unwrap();
    fs::set_permissions(&held, fs::Permissions::from_mode(0o777)).unwrap();
    let fd = open(CWD, held.as_path()).unwrap();
    let (begun, begins) = std::sync::mpsc::channel();
    let filling = std::thread::spawn(move || {
        rustix::thread::set_thread_res_uid(None, Some(rustix::process::Uid::from_raw(5001)), None).unwrap();
        let mut made = 0_u64;
        loop {
            let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
            match openat(&fd, format!("f{made}"), flags, Mode::RWXU) {
                Ok(_) => made += 1,
                Err(e) => return (e, made),
            }
            if made == 100 {
                begun.send(()).unwrap();
            }
        }
    });
    begins.recv().unwrap();
    empty(&place.join("dir")).unwrap();
    let (error, made) = filling.join().unwrap();
    // Taken away, or gone.
    assert!(matches!(error, Errno::ACCESS | Errno::NOENT) && made >= 100, "{error} {made}");
    remove(&place).unwrap();
    assert!(!place.exists());
}

/// S7: what can't be removed stays, and keeps nothing beside it; what is only marked is unmarked.
#[test]
fn a04_a_name_that_cant_be_removed_keeps_no_other() {
    use nix::mount::{MsFlags, mount};
    use nix::sched::{CloneFlags, unshare};
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let place = std::env::temp_dir().join(format!("launch-kept-{}", std::process::id()));
    let dir = place.join("dir");
    fs::create_dir_all(dir.join("b/deep/er/held")).unwrap();
    for i in 0..2 * BATCH {
        fs::write(dir.join(format!("b/deep/{i}")), "x").unwrap();
    }
    for name in ["a", "z", "b/deep/er/f"] {
        fs::write(dir.join(name), "x").unwrap();
    }
    fs::create_dir_all(dir.join("c/marked/below")).unwrap();
    fs::write(dir.join("c/marked/file"), "x").unwrap();
    for marked in ["c/marked/file", "c/marked", "c/marked/below"] {
        let file = fs::File::open(dir.join(marked)).unwrap();
        let flag = if marked == "c/marked" { IFlags::APPEND } else { IFlags::IMMUTABLE };
        // Not every file system has marks.
        let _ = ioctl_getflags(&file).and_then(|flags| ioctl_setflags(&file, flags | flag));
    }
    let tried = {
        let dir = dir.clone();
        // The mount is this thread's alone.
        std::thread::spawn(move || {
            let (none, held) = (None::<&str>, dir.join("b/deep/er/held"));
            unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_FS).unwrap();
            mount(none, "/", none, MsFlags::MS_PRIVATE | MsFlags::MS_REC, none).unwrap();
            mount(none, &held, Some("tmpfs"), MsFlags::empty(), none).unwrap();
            let emptied = empty(&dir).map_err(|e| e.to_string());
            let mut left = vec![];
            let mut open = vec![dir.clone()];
            while let Some(next) = open.pop() {
                for entry in fs::read_dir(next).unwrap() {
                    let path = entry.unwrap().path();
                    left.push(path.file_name().unwrap().to_owned());
                    open.extend(path.is_dir().then_some(path));
                }
            }
            (emptied, left)
        })
    };
    let (emptied, left) = tried.join().unwrap();
    assert!(emptied.is_err_and(|e| e.contains("is mounted")));
    assert!(left.len() <= 4 && left.contains(&"held".into()), "{left:?}");
    remove(&place).unwrap();
    assert!(!place.exists());
}

/// S7: anybody makes a subvolume of btrfs in a directory of his, and makes it read-only.
#[test]
fn a04_a_subvolume_that_its_owner_made_read_only_is_removed() {
    use std::process::Command;
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output();
        output.is_ok_and(|output| output.status.success())
    };
    let place = std::env::temp_dir().join(format!("launch-btrfs-{}", std::process::id()));
    let (image, disk) = (place.join("image"), place.join("disk"));
    fs::create_dir_all(&disk).unwrap();
    fs::File::create(&image).unwrap().set_len(128 << 20).unwrap();
    let (image, at) = (image.to_str().unwrap(), disk.to_str().unwrap());
    // Without root, or btrfs, there is nothing to see.
    if !run("mkfs.btrfs", &["-q", image]) || !run("mount", &["-o", "loop", image, at]) {
        return fs::remove_dir_all(&place).unwrap();
    }
    let dir = disk.join("dir");
    fs::create_dir_all(dir.join("d")).unwrap();
    let mut made = vec![];
    // Deeper than anything is opened, each within the one before.
    let mut deep = dir.join("d");
    for i in 0..2 * DEEPEST {
        deep = deep.join(format!("s{i}"));
        assert!(run("btrfs", &["-q", "subvolume", "create", deep.to_str().unwrap()]));
        made.push(deep.clone());
        deep = deep.join("x");
        fs::create_dir_all(deep.join("y/z")).unwrap();
        fs::write(deep.join("y/z/big"), vec![1; 1 << 16]).unwrap();
    }
    for subvolume in made.iter().rev() {
        std::os::unix::fs::chown(subvolume, Some(5001), Some(5001)).unwrap();
        assert!(run("btrfs", &["property", "set", subvolume.to_str().unwrap(), "ro", "true"]));
    }
    fs::write(dir.join("z"), "x").unwrap();
    let refused = fs::remove_dir_all(&dir);
    let removed = remove(&dir).map_err(|e| e.to_string());
    let gone = !dir.exists();
    assert!(run("umount", &[at]));
    fs::remove_dir_all(&place).unwrap();
    assert_eq!((removed, gone, refused.is_err()), (Ok(()), true, true));
}
