# Makes chains of processes: the first one is connected to the master, the last one may be abroad, and between them are
# channels of every kind, chosen by a seed. Asked by lines `SEED ABROAD PORT`; says what it made, and on `end` ends it.
import ctypes, json, mmap, os, pty, random, signal, socket, sys, tempfile

NODE = r'''
import ctypes, json, mmap, os, signal, sys
nodes, ready = json.loads(sys.argv[1]), int(sys.argv[2])
shared = mmap.mmap(-1, 4096) if len(nodes) > 1 else None
parent, mine = os.getpid(), nodes[0]
for node in nodes[1:]:
    if os.fork() == 0:
        mine = node
        ctypes.CDLL(None).prctl(1, 9)
        if node['setsid']: os.setsid()
        break
maps = [mmap.mmap(fd, 4096) for fd in mine['maps']]
for node in nodes:
    for fd in node['maps'] + node['fds']:
        if fd not in mine['fds']:
            try: os.close(fd)
            except OSError: pass
os.close(ready)
signal.pause()
'''
LIBC = ctypes.CDLL(None)
KINDS = ['pipes', 'stream', 'datagrams', 'packets', 'named', 'terminal', 'fifo', 'memfd', 'deleted', 'memory', 'fork']

def channel(kind, at):
    """The descriptors of the one and of the other."""
    if kind == 'pipes':
        (a, b), (c, d) = os.pipe(), os.pipe()
        return [a, d], [c, b]
    if kind in ('stream', 'datagrams', 'packets'):
        kinds = {'stream': socket.SOCK_STREAM, 'datagrams': socket.SOCK_DGRAM, 'packets': socket.SOCK_SEQPACKET}
        one, other = socket.socketpair(socket.AF_UNIX, kinds[kind])
        return [one.detach()], [other.detach()]
    if kind == 'named':
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(at + '/s')
        listener.listen()
        client = socket.socket(socket.AF_UNIX)
        client.connect(at + '/s')
        accepted, _ = listener.accept()
        os.unlink(at + '/s')
        return [client.detach()], [accepted.detach()]
    if kind == 'terminal':
        maker, line = pty.openpty()
        return [line], [maker]
    if kind == 'fifo':
        ends = []
        for name in ('/a', '/b'):
            os.mkfifo(at + name)
            read = os.open(at + name, os.O_RDONLY | os.O_NONBLOCK)
            ends.append((read, os.open(at + name, os.O_WRONLY)))
            os.unlink(at + name)
        return [ends[0][0], ends[1][1]], [ends[1][0], ends[0][1]]
    if kind == 'deleted':
        file = tempfile.TemporaryFile(dir=at)
        return [os.dup(file.fileno())], [os.dup(file.fileno())]
    if kind in ('memfd', 'memory'):
        file = os.memfd_create('x')
        os.ftruncate(file, 4096)
        return [file], [os.dup(file)]
    return [], []

def build(seed, abroad, port, at):
    chance = random.Random(seed)
    edges = [chance.choice(KINDS) for _ in range(chance.randint(1, 4))]
    # Each kind is the first one, too.
    edges[0] = KINDS[seed % len(KINDS)]
    nodes = [{'fds': [], 'maps': [], 'setsid': chance.random() < 0.5, 'low': chance.random() < 0.5} for _ in range(len(edges) + 1)]
    for index, kind in enumerate(edges):
        ends = channel(kind, at)
        # Whoever accepted or made a terminal for the master's own client would be its server.
        if index and chance.random() < 0.5:
            ends = ends[::-1]
        for node, fds in zip(nodes[index:index + 2], ends):
            node['maps' if kind == 'memory' else 'fds'] += fds
    master = socket.create_connection(('127.0.0.1', port)).detach()
    nodes[0]['fds'].append(master)
    nodes[0]['low'] = True
    if abroad:
        kind = chance.choice([socket.SOCK_DGRAM, socket.SOCK_STREAM])
        elsewhere = socket.socket(socket.AF_INET, kind)
        elsewhere.bind(('127.0.0.1', 0))
        if kind == socket.SOCK_STREAM: elsewhere.listen()
        nodes[-1]['fds'].append(elsewhere.detach())
    groups, pids = [[nodes[0]]], []
    for kind, node in zip(edges, nodes[1:]):
        if kind == 'fork': groups[-1].append(node)
        else: groups.append([node])
    wait, ready = os.pipe()
    for group in groups:
        pid = os.fork()
        if pid == 0:
            LIBC.prctl(1, 9)
            os.close(wait)
            if group[0]['setsid']: os.setsid()
            known = {fd for node in group for fd in node['fds'] + node['maps']}
            others = {fd for node in nodes for fd in node['fds'] + node['maps']} - known
            for fd in others: os.close(fd)
            for fd in known: os.set_inheritable(fd, True)
            if len(group) == 1 and not group[0]['maps']:
                if group[0]['low']:
                    first = [fd for fd in group[0]['fds'] if fd != master]
                    # What a program is given to speak by.
                    for number, fd in enumerate(first[:2]):
                        os.dup2(fd, number)
                        os.close(fd)
                os.execvp('sleep', ['sleep', '600'])
            if group[0] is nodes[0] and len(group) == 1:
                for number, fd in enumerate([fd for fd in group[0]['fds'] if fd != master][:2]):
                    os.dup2(fd, number)
                    os.close(fd)
                    group[0]['fds'][group[0]['fds'].index(fd)] = number
            os.set_inheritable(ready, True)
            os.execv('/usr/bin/python3', ['python3', '-I', '-S', '-c', NODE, json.dumps(group), str(ready)])
        pids.append(pid)
    os.close(ready)
    leaks = chance.random() < 0.3
    known = [fd for node in nodes for fd in node['fds'] + node['maps']]
    kept = known if leaks else []
    for fd in known:
        if fd not in kept or fd == master or abroad and fd == nodes[-1]['fds'][-1]: os.close(fd)
    kept = [fd for fd in kept if fd != master and not (abroad and fd == nodes[-1]['fds'][-1])]
    os.read(wait, 1)
    os.close(wait)
    return ' '.join(edges) + (' leaks' if leaks else '') + (' low' if nodes[0]['low'] else ''), pids, kept

for line in sys.stdin:
    seed, abroad, port = map(int, line.split())
    with tempfile.TemporaryDirectory() as at:
        made, pids, kept = build(seed, abroad, port, at)
        print(made, flush=True)
        assert sys.stdin.readline().strip() == 'end'
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        for fd in kept: os.close(fd)
