//! What the kernel has for a task and no usual limit sees (A12): what waits in sockets, asynchronous reads and writes.

mod support;

use std::path::Path;

use launch::record::Source;
use launch::spec::{Limits, Network, Seccomp};
use launch::{Limit, TaskSpec};
use support::{Task, own_script, root_script, run, script};

fn python(spec: TaskSpec, text: &str) -> TaskSpec {
    TaskSpec { argv: vec!["/usr/bin/python3".into(), "-c".into(), text.into()], ..spec }
}

/// Asks the kernel for its interfaces and reads none of its answers, until so many bytes of them wait. The sockets are on
/// their way from one socket to another; no process has them open.
const ASKS: &str = "import array, resource, socket, struct, sys, time
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
ask = struct.pack('=IHHII', 32, 18, 1, 0, 0) + struct.pack('=BxHiII', 0, 0, 1, 0, 0)
pairs, held = [], 0
while held < MOST:
    s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 26)
    waits, room = 0, 1 << 18
    while waits + (1 << 17) < min(room, MOST):
        s.send(ask * 32)
        waits, room = struct.unpack('=2I', s.getsockopt(socket.SOL_SOCKET, 55, 36)[:8])
    held += waits
    pairs.append(socket.socketpair())
    socket.send_fds(pairs[-1][0], [b'x'], [s.fileno()])
    s.close()
print('held', flush=True)
";

/// I6: kernel memory that is in no limit, and that no killing of others gives back.
#[test]
fn a12_answers_of_the_kernel_that_nobody_reads_end_the_task() {
    let text = format!("MOST = 150 << 20\n{ASKS}time.sleep(1000)");
    let tasks = [(script(""), 0), (root_script(""), 0), (own_script(""), 5001)];
    for (spec, uid) in tasks {
        for network in [Network::Private, Network::None] {
            let done = Task::create_for(&python(TaskSpec { network, ..spec.clone() }, &text), uid).run();
            assert_eq!((done.exit.limit, done.exit.signal), (Some(Limit::Memory), Some(9)), "{done:?}");
            assert!(
                done.agent.contains("answers unread in its netlink sockets, more than 64 MiB"),
                "{done:?}"
            );
        }
    }
    // Who reads late is left alone, and so is who asks from elsewhere.
    let done = run(&python(script(""), &format!("MOST = 20 << 20\n{ASKS}time.sleep(1)")));
    assert_eq!((done.exit.code, done.stdout.as_str()), (0, "held\n"), "{done:?}");
}

#[test]
fn a12_more_sockets_than_anybody_looks_at_end_the_task() {
    let text = "import resource, socket, time
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
kept = []
for _ in range(5000):
    kept.append(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0))
    # Until it has a name, it can't be answered.
    kept[-1].bind((0, 0))
print(len(kept), flush=True)
time.sleep(1000)";
    let done = run(&python(script(""), text));
    assert_eq!((done.exit.limit, done.exit.signal), (Some(Limit::Memory), Some(9)), "{done:?}");
    assert!(done.agent.contains("more than 4096 netlink sockets"), "{done:?}");
}

/// The same kind: what the kernel reports of datagrams that were sent.
#[test]
fn a12_reports_of_the_kernel_that_nobody_reads_end_the_task() {
    let text = "import resource, socket, struct, time
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
kept, held = [], 0
while held < MOST:
    s = socket.socket(FAMILY, socket.SOCK_DGRAM)
    # Time stamps, with a copy of what was sent.
    s.setsockopt(socket.SOL_SOCKET, 37, 2 | 16)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 26)
    waits, room = 0, 1 << 18
    while waits + (1 << 17) < room:
        try: s.sendto(bytes(60000), (WHERE, 9))
        except OSError: pass
        waits, room = struct.unpack('=2I', s.getsockopt(socket.SOL_SOCKET, 55, 36)[:8])
    held += waits
    kept.append(s)
print('held', flush=True)
";
    let limits = Limits { memory_bytes: Some(1 << 30), ..Limits::default() };
    for (family, place) in [(2, "127.0.0.1"), (10, "::1")] {
        let tasks = [(script(""), 0), (root_script(""), 0), (own_script(""), 5001)];
        for (spec, uid) in tasks {
            let text =
                format!("FAMILY, WHERE, MOST = {family}, '{place}', 300 << 20\n{text}time.sleep(1000)");
            let done = Task::create_for(&python(TaskSpec { limits, ..spec }, &text), uid).run();
            assert_eq!((done.exit.limit, done.exit.signal), (Some(Limit::Memory), Some(9)), "{done:?}");
            assert!(done.agent.contains("unread in its UDP sockets"), "{done:?}");
            assert!(done.agent.contains("more than 128 MiB"), "{done:?}");
        }
    }
    let text = format!("FAMILY, WHERE, MOST = 2, '127.0.0.1', 30 << 20\n{text}time.sleep(1)");
    let done = run(&python(TaskSpec { limits, ..script("") }, &text));
    assert_eq!((done.exit.code, done.stdout.as_str()), (0, "held\n"), "{done:?}");
}

/// The same kind: what a socket's options take.
#[test]
fn a12_options_of_sockets_take_little() {
    let text = "import errno, os, socket, struct
s = socket.socket()
def keys(option):
    where = struct.pack('HH4s120x', 2, 0, bytes([10, 0, 0, 1]))
    try: s.setsockopt(6, option, where + struct.pack('BBHI80s', 0, 0, 8, 0, b'x' * 8))
    except OSError as e: return errno.errorcode[e.errno]
print(keys(14), keys(32), keys(38))
s.setsockopt(6, socket.TCP_NODELAY, 1)
room = '/proc/sys/net/core/optmem_max'
print(open(room).read().strip() if os.path.exists(room) else 20480)
a, b = socket.socketpair()
socket.send_fds(a, [b'x'], [1] * 250)
print(len(socket.recv_fds(b, 1, 250)[1]))
def other(*kind):
    try: return socket.socket(*kind)
    except OSError as e: return errno.errorcode[e.errno]
# UDP-Lite, SCTP, DCCP, several ways for one TCP connection, shared memory for TCP.
kinds = [(2, 2, 136), (10, 2, 136), (2, 1, 132), (2, 6, 33), (2, 1, 262), (10, 1, 256)]
print(*{other(*kind) for kind in kinds})
for kind in [(2, 2, 17), (2, 1, 6), (10, 1, 0), (16, 3, 4), (1, 1, 0)]: socket.socket(*kind)";
    let outside = std::fs::read_to_string("/proc/sys/net/core/optmem_max").unwrap();
    for (spec, uid) in [(script(""), 0), (root_script(""), 0), (own_script(""), 5001)] {
        for network in [Network::Private, Network::None] {
            let spec = TaskSpec { network, ..spec.clone() };
            let done = Task::create_for(&python(spec, text), uid).run();
            assert_eq!(
                done.stdout, "ENOPROTOOPT ENOPROTOOPT ENOPROTOOPT\n20480\n250\nEPROTONOSUPPORT\n",
                "{done:?}"
            );
        }
    }
    assert_eq!(std::fs::read_to_string("/proc/sys/net/core/optmem_max").unwrap(), outside);
}

/// I1: the kernel has one number of asynchronous reads and writes for the whole machine.
#[test]
fn a12_no_task_takes_the_machines_asynchronous_reads_and_writes() {
    let (setup, destroy) = if cfg!(target_arch = "x86_64") { (206, 207) } else { (0, 1) };
    let text = format!(
        "import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
room = ctypes.c_ulong()
made = libc.syscall({setup}, 64, ctypes.byref(room))
print(errno.errorcode.get(ctypes.get_errno(), 'fine'))
if made == 0: libc.syscall({destroy}, room)"
    );
    for spec in [script(""), root_script("")] {
        let done = run(&python(spec, &text));
        assert_eq!(done.stdout, "ENOSYS\n", "{done:?}");
    }
    // Where the administrator wants it, it is there.
    let done = run(&python(TaskSpec { seccomp: Seccomp::Off, ..script("") }, &text));
    assert_eq!(done.stdout, "fine\n", "{done:?}");
}

/// The same kind: pages of the machine's pool are in no limit, and there are few. What the kernel says when it has none left is what
/// it says without a pool, so the pool need not be there to see who refuses.
#[test]
fn a12_no_task_takes_the_machines_huge_pages() {
    let text = "import ctypes, errno, mmap, os
def tried(what, *arguments):
    try: what(*arguments)
    except OSError as e: return errno.errorcode[e.errno]
    return 'fine'
libc = ctypes.CDLL(None, use_errno=True)
def shared(flags):
    made = libc.shmget(0, 1 << 21, 0o1600 | flags)
    if made < 0: raise OSError(ctypes.get_errno(), '')
    libc.shmctl(made, 0, None)
def mapped(flags): mmap.mmap(-1, 1 << 21, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | flags).close()
print(tried(mapped, 0x40000), tried(mapped, 0x40000 | 21 << 26), tried(mapped, 0))
print(tried(os.memfd_create, 'm', 4), tried(os.memfd_create, 'm', 1))
print(tried(os.memfd_create, 'm', 0xffffffff), tried(os.memfd_create, 'm', 0x24), tried(os.memfd_create, 'm', 0xfc000007))
print(tried(shared, 0o4000), tried(shared, 0))";
    let tasks = [(script(""), 0), (root_script(""), 0), (own_script(""), 5001)];
    for (spec, uid) in tasks {
        for seccomp in [Seccomp::Default, Seccomp::Namespaces] {
            let done = Task::create_for(&python(TaskSpec { seccomp, ..spec.clone() }, text), uid).run();
            assert_eq!(
                done.stdout, "ENOMEM ENOMEM fine\nENOMEM fine\nEINVAL EINVAL ENOMEM\nENOMEM fine\n",
                "{done:?}"
            );
        }
    }
    // Where the administrator wants it, the kernel is asked; it makes a file of such pages before it has any.
    let done = run(&python(TaskSpec { seccomp: Seccomp::Off, ..script("") }, text));
    assert!(done.stdout.contains("\nfine fine\n"), "{done:?}");
}

/// What version 1 counts apart has a limit there; version 2 counts it with the rest.
#[test]
fn a12_what_waits_in_a_tasks_own_loopback_is_limited() {
    if !Path::new("/sys/fs/cgroup/memory/memory.kmem.tcp.limit_in_bytes").exists() {
        return;
    }
    let text = "import socket, struct
sender, kept = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), []
for _ in range(60):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    s.bind(('127.0.0.1', 0))
    kept.append(s)
    for _ in range(200): sender.sendto(bytes(60000), s.getsockname())
waits = lambda s: struct.unpack('=I', s.getsockopt(socket.SOL_SOCKET, 55, 36)[:4])[0]
print(sum(map(waits, kept)))
s = socket.create_server(('127.0.0.1', 0))
a = socket.create_connection(s.getsockname())
b, _ = s.accept()
a.sendall(bytes(1000))
print(len(b.recv(1000, socket.MSG_WAITALL)))";
    let limits = Limits { memory_bytes: Some(1 << 30), ..Limits::default() };
    let task = Task::create(&python(TaskSpec { limits, ..script("") }, text));
    let done = task.run();
    let (waits, carried) = done.stdout.split_once('\n').expect("two lines");
    assert!(waits.parse::<u64>().unwrap() <= 65 << 20, "{done:?}");
    // It is full, and small things go on.
    assert_eq!(carried, "1000\n", "{done:?}");
    assert_eq!(task.output(Source::Agent), "", "{done:?}");
}

/// What is one for the machine and reached without a right, each in the ways that there are.
const MACHINES: &str = "import errno, fcntl, os, socket, struct
def error(call):
    try: call()
    except OSError as e: return errno.errorcode[e.errno]
    return 'fine'
shown = [name for name in ('locks', 'buddyinfo', 'zoneinfo', 'keys') if open('/proc/' + name).read()]
print(shown, os.listdir('/proc/fs'), bool(open('/proc/meminfo').read()))
a, b = open('/tmp/a', 'w+'), open('/tmp/b', 'w+')
a.write('x'), a.flush()
REQUESTS = 0x40049409, 0x50009401
print({error(lambda: fcntl.ioctl(b, request, a.fileno())) for request in REQUESTS},
      {error(lambda: fcntl.ioctl(a, request, bytes(64))) for request in (0x4020940d, 0xc0189436, 0x50009417, 0x5000940e, 0x50009418, 0x4020bc10, 0x40086602, 0x6609)},
      error(lambda: os.copy_file_range(a.fileno(), b.fileno(), 1, 0)))
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
label = socket.inet_pton(socket.AF_INET6, '::1') + struct.pack('!I', 5) + struct.pack('BBHHHI', 0, 255, 1, 6, 60, 0)
group = socket.inet_pton(socket.AF_INET6, 'ff02::1:3') + struct.pack('I', 0)
print({error(lambda: s.setsockopt(socket.IPPROTO_IPV6, option, value)) for option, value in ((32, label), (20, group), (59, bytes(8)))})
print(error(lambda: fcntl.fcntl(os.open('/usr/lib', os.O_RDONLY), fcntl.F_NOTIFY, fcntl.DN_ACCESS)))
if os.path.exists('/proc/pressure/cpu'):
    print(open('/proc/pressure/cpu').read()[:4], error(lambda: open('/proc/pressure/cpu', 'r+')))
";

#[test]
fn ma1_ma2_ma5_ma7_ma8_ma9_ma11_what_the_whole_machine_has_one_of_no_task_holds() {
    let pressure = if Path::new("/proc/pressure/cpu").exists() { "some EROFS\n" } else { "" };
    for (spec, uid) in [(script(""), 0), (root_script(""), 0), (own_script(""), 5001)] {
        let done = Task::create_for(&python(spec, MACHINES), uid).run();
        let refused = "[] [] True\n{'ENOTSUP'} {'ENOTSUP'} ENOSYS\n{'ENOPROTOOPT'}\nEINVAL\n";
        assert_eq!(done.stdout, format!("{refused}{pressure}"), "{uid} {done:?}");
    }
    // Programs copy files all the same, and who may make containers has a `/proc` that can be mounted there.
    let done = run(&script("echo it > /tmp/a && cp --reflink=auto /tmp/a /tmp/b && cat /tmp/b"));
    assert_eq!(done.stdout, "it\n", "{done:?}");
    let nested = "unshare -Urpf --mount-proc sh -c 'test -s /proc/locks; ls /proc/fs | wc -l' 2>&1";
    let done = run(&TaskSpec { seccomp: Seccomp::Namespaces, ..script(nested) });
    assert_eq!(done.exit.code, 0, "{done:?}");
}

/// What the kernel keeps in no limit, any number of it for one descriptor or one thread, and what has the whole machine wait
/// while it reads or writes the task's memory, each in the ways that there are; then what is let through.
const WAYS: &str = "import ctypes, errno, fcntl, mmap, os, platform, resource, select, socket, struct
libc = ctypes.CDLL(None, use_errno=True)
def error(call):
    ctypes.set_errno(0)
    try: made = call()
    except OSError as e: return errno.errorcode[e.errno]
    return errno.errorcode[ctypes.get_errno()] if made == -1 else 'fine'
MBIND, POLL, PPOLL, SELECT, PSELECT = {'x86_64': (237, 7, 271, 23, 270), 'aarch64': (235, 73, 73, 72, 72)}[platform.machine()]
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
file = os.memfd_create('m')
os.ftruncate(file, 1 << 20)
part = mmap.mmap(file, 1 << 20)
at, node = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(part))), ctypes.c_ulong(1)
print(error(lambda: libc.syscall(MBIND, at, 4096, 2, ctypes.byref(node), 8, 0)),
      error(lambda: libc.syscall(450, at, 4096, 0, 0)), error(lambda: libc.syscall(449, None, 0, 0, None, 0)))
ready = os.eventfd(1)
def poll(call, many):
    asked, at_once = struct.pack('ihh', ready, 1, 0) * many, struct.pack('qq', 0, 0)
    return lambda: libc.syscall(call, asked, many, 0 if call != PPOLL else at_once, None, 8)
def select_of(call, many):
    bits = ctypes.create_string_buffer(many // 8 + 8)
    return lambda: libc.syscall(call, many, bits, None, None, struct.pack('qq', 0, 0), None)
print({error(poll(call, 1025)) for call in (POLL, PPOLL)} | {error(select_of(call, 1025)) for call in (SELECT, PSELECT)},
      {error(poll(call, 1024)) for call in (POLL, PPOLL)} | {error(select_of(call, 1024)) for call in (SELECT, PSELECT)})
s4, s6 = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
names = lambda request: lambda: fcntl.ioctl(s4, request, struct.pack('16s24s', b'lo', b''))
print({error(lambda: s.setsockopt(level, option, bytes(300))) for s, level, options in
       ((s4, 0, range(35, 49)), (s6, 0, range(35, 49)), (s6, 41, (20, 21, 27, 28, *range(42, 49)))) for option in options},
      {error(lambda: s.getsockopt(level, option, 300)) for s, level, option in ((s4, 0, 41), (s4, 0, 48), (s6, 0, 41), (s6, 41, 48))},
      {error(names(request)) for request in (0x8946, 0x8940, 0x8941, 0x8982, 0x8983)})
group = socket.inet_aton('224.1.2.3') + socket.inet_aton('127.0.0.1')
print(error(lambda: s4.setsockopt(0, socket.IP_ADD_MEMBERSHIP, group)), error(lambda: s4.setsockopt(0, socket.IP_TOS, 16)),
      error(lambda: s4.setsockopt(0, socket.IP_MULTICAST_LOOP, 0)), error(names(0x8933)))
lock = lambda request: lambda: fcntl.fcntl(open('/tmp/l', 'w'), request, struct.pack('hhqqi', fcntl.F_WRLCK, 0, 0, 1, 0))
print({error(lock(request)) for request in (37, 38)}, {error(lock(request)) for request in (fcntl.F_SETLK, fcntl.F_SETLKW)},
      error(lambda: fcntl.flock(open('/tmp/l'), fcntl.LOCK_EX)))
";

#[test]
fn md1_md2_md3_md4_md8_what_is_in_no_limit_or_stops_the_machine_is_refused() {
    for (spec, uid) in [(script(""), 0), (root_script(""), 0), (own_script(""), 5001)] {
        for network in [Network::Private, Network::None] {
            let done = Task::create_for(&python(TaskSpec { network, ..spec.clone() }, WAYS), uid).run();
            let refused = "EPERM EPERM ENOSYS\n{'EINVAL'} {'fine'}\n{'ENOPROTOOPT'} {'ENOPROTOOPT'} {'ENOTSUP'}\n\
                           ENOPROTOOPT fine fine fine\n{'EINVAL'} {'fine'} fine\n";
            assert_eq!(done.stdout, refused, "{uid} {done:?}");
        }
    }
    // Where the administrator wants it, the kernel answers itself.
    let done = run(&python(TaskSpec { seccomp: Seccomp::Off, ..script("") }, WAYS));
    assert!(
        done.stdout.starts_with("fine ") && done.stdout.ends_with("{'fine'} {'fine'} fine\n"),
        "{done:?}"
    );
}

/// MD4: which interfaces there are is told without the lock of the machine's network configuration, by somebody else than the
/// kernel, and just as that does: with as much room as there is, with none, without a socket, and nowhere.
#[test]
fn md4_who_asks_for_interfaces_holds_no_lock_of_the_machines() {
    let text = "import array, errno, fcntl, os, socket, struct, threading
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
def asked(room, fd=None, place=None):
    told = array.array('B', bytes(room or 1))
    where = told.buffer_info()[0] if place is None else place
    try: length = struct.unpack('iiQ', fcntl.ioctl(s if fd is None else fd, 0x8912, struct.pack('iiQ', room, 0, where)))[0]
    except OSError as e: return errno.errorcode[e.errno]
    names = [told[at:at + 16].tobytes().split(bytes(1))[0].decode() for at in range(0, length, 40)] if place is None else []
    return length, names, [socket.inet_ntoa(told[at + 20:at + 24].tobytes()) for at in range(0, length if names else 0, 40)]
print(asked(4096))
print(asked(79), asked(39), asked(0, place=0)[0], asked(4096, place=8))
print(asked(4096, fd=os.open('/dev/null', os.O_RDWR)), asked(4096, fd=999))
said = []
threads = [threading.Thread(target=lambda: said.append(asked(4096) == asked(4096))) for _ in range(20)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(said.count(True), socket.if_nameindex()[0])
if os.fork() == 0: os._exit(asked(4096)[0] // 40)
print(os.waitstatus_to_exitcode(os.wait()[1]))";
    for (spec, uid) in [(script(""), 0), (root_script(""), 0), (own_script(""), 5001)] {
        for network in [Network::Private, Network::None] {
            let by = |seccomp| {
                let spec = TaskSpec { network, seccomp, ..spec.clone() };
                Task::create_for(&python(spec, text), uid).run()
            };
            let done = by(Seccomp::Default);
            assert!(done.stdout.contains("(40, ['lo'], ['127.0.0.1']) (0, [], []) "), "{uid} {done:?}");
            assert!(done.stdout.contains(" EFAULT\nENOTTY EBADF\n20 (1, 'lo')\n"), "{uid} {done:?}");
            // An agent without root may be unable to make it.
            if network == Network::Private && uid == 0 {
                let all = "(80, ['lo', 'net0'], ['127.0.0.1', '192.0.0.2'])\n";
                assert!(done.stdout.starts_with(all) && done.stdout.ends_with("\n2\n"), "{uid} {done:?}");
            }
            // The kernel itself, where tasks may have more.
            assert_eq!(done.stdout, by(Seccomp::Namespaces).stdout, "{uid} {done:?}");
        }
    }
}
