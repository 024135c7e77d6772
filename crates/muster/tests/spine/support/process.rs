//! A program that a test started: what it writes, as it writes it, and how it ends.

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::wait::{DEADLINE, ends_within};

/// How a program ended, and all that it wrote.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

impl Output {
    /// The exit status, as a shell gives it.
    pub(crate) fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or_default())
    }

    /// Standard output as text.
    pub(crate) fn out(&self) -> &str {
        str::from_utf8(&self.stdout).expect("text on standard output")
    }

    /// Standard error as text.
    pub(crate) fn err(&self) -> &str {
        str::from_utf8(&self.stderr).expect("text on standard error")
    }

    /// Panics unless it ended with this status.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(
            self.code(),
            code,
            "\nstandard output:\n{}\nstandard error:\n{}",
            String::from_utf8_lossy(&self.stdout),
            String::from_utf8_lossy(&self.stderr)
        );
        self
    }

    /// Standard output of a program that went well, without the last line end.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        let output = self.exits(0);
        output.out().trim_end_matches('\n').to_owned()
    }

    /// Panics unless standard error holds `text`.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(self.err().contains(text), "no {text:?} in\n{}", self.err());
        self
    }
}

/// What a program writes to one of its outputs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stream(Arc<(Mutex<Written>, Condvar)>);

#[derive(Debug, Default)]
struct Written {
    bytes: Vec<u8>,
    closed: bool,
}

impl Stream {
    pub(super) fn read(mut from: impl Read + Send + 'static) -> Self {
        let stream = Self::default();
        let written = stream.clone();
        std::thread::spawn(move || {
            let mut chunk = vec![0; 64 << 10];
            loop {
                let count = from.read(&mut chunk).unwrap_or(0);
                let mut now = written.lock();
                now.bytes.extend_from_slice(&chunk[..count]);
                now.closed = count == 0;
                written.0.1.notify_all();
                if now.closed {
                    return;
                }
            }
        });
        stream
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        self.0.0.lock().expect("no reader panics")
    }

    /// All that was written so far.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.lock().bytes).into_owned()
    }

    /// Waits until `text` was written, and gives all that was written so far.
    #[track_caller]
    pub(crate) fn wait_for(&self, text: &str) -> String {
        let found = |now: &Written| String::from_utf8_lossy(&now.bytes).contains(text);
        if !self.wait_until(DEADLINE, |now| found(now) || now.closed) || !found(&self.lock()) {
            panic!("never wrote {text:?}, but:\n{}", self.text());
        }
        self.text()
    }

    /// The first line, `None` if there is never one.
    pub(crate) fn first_line(&self) -> Option<String> {
        let ended = |now: &Written| now.closed || now.bytes.contains(&b'\n');
        self.wait_until(DEADLINE, ended);
        self.text().split_once('\n').map(|(line, _)| line.to_owned())
    }

    /// Whether the last writer closes it in time.
    pub(crate) fn closes_within(&self, time: Duration) -> bool {
        self.wait_until(time, |now| now.closed)
    }

    fn wait_until(&self, time: Duration, mut test: impl FnMut(&Written) -> bool) -> bool {
        let (lock, changed) = &*self.0;
        let guard = lock.lock().expect("no reader panics");
        let (now, _) = changed.wait_timeout_while(guard, time, |now| !test(now)).expect("no reader panics");
        test(&now)
    }
}

/// A running program; killed with this value if it still runs.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    pub(crate) stdout: Stream,
    pub(crate) stderr: Stream,
}

impl Process {
    /// Starts it with `input` on its standard input, and no more.
    #[track_caller]
    pub(crate) fn start(command: &mut Command, input: &str) -> Self {
        let mut process = Self::start_dialogue(command);
        process.answer(input);
        process.stdin = None;
        process
    }

    /// Starts it with a standard input that stays open until it has ended.
    #[track_caller]
    pub(crate) fn start_dialogue(command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdin = child.stdin.take();
        let stdout = Stream::read(child.stdout.take().expect("piped"));
        let stderr = Stream::read(child.stderr.take().expect("piped"));
        Self { child, stdin, stdout, stderr }
    }

    /// Writes to its standard input: little enough for the pipe.
    pub(crate) fn answer(&mut self, text: &str) {
        // A program that doesn't read it may be gone already.
        let _ = self.stdin.as_mut().expect("still open").write_all(text.as_bytes());
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a pid"))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("our own child");
    }

    pub(crate) fn ends_within(&self, time: Duration) -> bool {
        ends_within(self.pid(), time)
    }

    /// Kills it, which leaves no time for last words.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("our own child");
        self.child.wait().expect("our own child");
    }

    /// Sends the signal, waits for the end, and gives it with the time that it took.
    #[track_caller]
    pub(crate) fn end(self, signal: Signal) -> (Output, Duration) {
        let start = Instant::now();
        self.signal(signal);
        let output = self.finish();
        (output, start.elapsed())
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn finish(self) -> Output {
        self.finish_within(DEADLINE)
    }

    /// Waits for its end, for what has much to do.
    #[track_caller]
    pub(crate) fn finish_within(mut self, time: Duration) -> Output {
        let wrote = |this: &Self| format!("{}\n{}", this.stdout.text(), this.stderr.text());
        assert!(self.ends_within(time), "still runs after {time:?}; it wrote:\n{}", wrote(&self));
        let status = self.child.wait().expect("our own child");
        for stream in [&self.stdout, &self.stderr] {
            assert!(stream.closes_within(DEADLINE), "ended, but somebody holds its output");
        }
        let bytes = |stream: &Stream| std::mem::take(&mut stream.lock().bytes);
        Output { status, stdout: bytes(&self.stdout), stderr: bytes(&self.stderr) }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program to its end.
#[track_caller]
pub(crate) fn run(command: &mut Command, input: &str) -> Output {
    Process::start(command, input).finish()
}
