# A file system of a user's (FUSE) that stops answering, and a process of his that it holds up: `hanging.py HOW UID`.
# Says `ready PID` when it is so; ends with its input. HOW is what isn't answered any more:
#   stat    questions about a file that the process has open
#   exec    its end, while the process starts another program: what describes its memory can't be read meanwhile
#   memory  a read, while the process puts it into its memory: what is written there (`cmdline`) can't be read meanwhile;
#           it is above a process in a pid namespace of its own
#   late    nothing: many processes start a program of that file system again and again, and each time its end is answered
#           just in time
#   epoll   a read, into whose page one more process has the kernel write what an epoll has to tell: that epoll can't be
#           described meanwhile; and as `late`, so that he is asked by numbers alone
# What it is given as its error output only those processes keep.
import ctypes, heapq, os, random, select, signal, struct, sys, tempfile, threading, time

HOW, UID = sys.argv[1], int(sys.argv[2])
LIBC = ctypes.CDLL(None, use_errno=True)
NEWNS, NEWPID, REC, PRIVATE, NOSUID_NODEV = 0x20000, 0x20000000, 0x4000, 0x40000, 6

# How many are late, by how much (not by the same, or they would all go on at once), how often until they are in step no more,
# and what each runs: a shell closes what it reads when it becomes another program.
MANY, LATE, TIMES, AGAIN = 80, (0.3, 0.7), 4, b'exec /bin/sh "$0"\n'

IS_LATE = HOW in ('late', 'epoll')

def checked(result):
    assert result == 0, os.strerror(ctypes.get_errno())

def attributes(node):
    mode, size = (0o40755, 0) if node == 1 else (0o100644, 4096)
    return struct.pack('<6Q10I', node, size, 8, 0, 0, 0, 0, 0, 0, mode, 1, UID, UID, 0, 4096, 0)

def hold(path, go):
    # It has nothing to do with who looks, nor with who started both.
    nothing, told = os.open('/dev/null', os.O_RDWR), os.dup(1)
    for number in (0, 1) if HOW == 'memory' else (0, 1, go):
        os.dup2(nothing, number)
    os.set_inheritable(told, False)
    os.setgroups([])
    os.setgid(UID)
    if HOW == 'memory' and os.fork() == 0:
        checked(LIBC.unshare(NEWPID))
        os.setuid(UID)
        os.fork()
        LIBC.prctl(1, signal.SIGKILL)
        signal.pause()
    os.setuid(UID)
    LIBC.prctl(1, signal.SIGKILL)
    if IS_LATE and path.endswith('f'):
        os.execv('/bin/sh', ['sh', path])
    file = os.open(path, os.O_RDONLY)
    if HOW == 'epoll':
        LIBC.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
        LIBC.mmap.restype = ctypes.c_void_p
        page, epoll = LIBC.mmap(None, 4096, 3, 2, file, 0), select.epoll()
        tells, told = os.pipe()
        os.write(told, b'x')
        epoll.register(tells, select.EPOLLIN)
        LIBC.epoll_wait(epoll.fileno(), ctypes.c_void_p(page), 1, -1)
    if HOW == 'exec':
        # It is closed by that.
        os.execv('/bin/sleep', ['sleep', '600'])
    if HOW == 'memory':
        threading.Thread(target=os.read, args=(file, 4096), daemon=True).start()
        os.read(go, 1)
        LIBC.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
        # Past what is cached: it waits for the page that is being read.
        LIBC.mmap(None, 4096, 1, 2, os.open(path, os.O_RDONLY), 0)
    os.write(told, f'ready {os.getpid()}\n'.encode())
    os.close(told)
    signal.pause()

def waits(pid):
    """Whether a process's first thread waits for something that can't be interrupted."""
    with open(f'/proc/{pid}/stat') as stat:
        return stat.read().rsplit(')', 1)[1].split()[0] == 'D'

checked(LIBC.unshare(NEWNS))
checked(LIBC.mount(b'none', b'/', None, REC | PRIVATE, None))
at = tempfile.mkdtemp()
fuse = os.open('/dev/fuse', os.O_RDWR)
options = f'fd={fuse},rootmode=40000,user_id={UID},group_id={UID},allow_other'
checked(LIBC.mount(b'hanging', at.encode(), b'fuse', NOSUID_NODEV, options.encode()))
go_read, go = os.pipe()
def begin(path):
    holder = os.fork()
    if holder == 0:
        os.close(fuse)
        os.close(go)
        try:
            hold(path, go_read)
        finally:
            os._exit(1)
    return holder

holders = [begin(at + '/f') for _ in range(MANY if IS_LATE else 1)]
if HOW == 'epoll':
    holders.append(begin(at + '/s'))
holder = holders[0]
os.dup2(os.open('/dev/null', os.O_WRONLY), 2)
opened, ready, later, ends, held = 0, False, [], 0, HOW != 'epoll'
while True:
    readable, _, _ = select.select([0, fuse], [], [], 0.01)
    while later and later[0][0] <= time.monotonic():
        try:
            os.write(fuse, struct.pack('<IiQ', 16, 0, heapq.heappop(later)[1]))
        except FileNotFoundError:
            pass
    if IS_LATE and ends >= MANY * TIMES and held and not ready:
        print('ready', holder, flush=True)
        ready = True
    if HOW == 'memory' and opened == 2 and not ready and waits(holder):
        print('ready', holder, flush=True)
        ready = True
    if 0 in readable and not os.read(0, 1):
        break
    if fuse not in readable:
        continue
    request = os.read(fuse, 1 << 18)
    _, what, number, node = struct.unpack('<IIQQ', request[:24])
    def answer(body, error=0):
        os.write(fuse, struct.pack('<IiQ', 16 + len(body), error, number) + body)
    if what == 26:  # INIT
        answer(struct.pack('<IIIIHHIIHHI28x', 7, 31, 65536, 0, 0, 0, 131072, 1, 0, 0, 0))
    elif what == 3:  # GETATTR: until the file is open
        if node == 1 or not opened or HOW != 'stat':
            answer(struct.pack('<QII', 0, 0, 0) + attributes(node))
    elif what == 1:  # LOOKUP
        found = 3 if request[40:].startswith(b's') else 2
        answer(struct.pack('<5QII', found, 0, 0, 0, 0, 0, 0)[:40] + attributes(found))
    elif what in (14, 27):  # OPEN, OPENDIR
        opened += 1
        # The second time not by the cache.
        answer(struct.pack('<QII', 1, 1 if IS_LATE else 3 * (opened == 2), 0))
    elif what == 25 and HOW == 'exec':  # FLUSH
        print('ready', holder, flush=True)
    elif what == 25 and IS_LATE:
        heapq.heappush(later, (time.monotonic() + random.uniform(*LATE), number))
        ends += 1
    elif what == 15 and HOW == 'epoll' and node == 3:  # READ
        held = True
    elif what == 15 and IS_LATE:
        at_, size = struct.unpack('<QI', request[48:60])
        answer(AGAIN[at_:at_ + size])
    elif what == 15:
        os.write(go, b'x')
    elif what in (2, 36, 42):  # FORGET, INTERRUPT
        pass
    else:
        answer(b'', 0 if what in (18, 25, 29) else -38)
for holder in holders:
    os.kill(holder, signal.SIGKILL)
# All that waits for it goes on.
os.close(fuse)
for holder in holders:
    os.waitpid(holder, 0)
checked(LIBC.umount2(at.encode(), 2))
os.rmdir(at)
