//! An installation of Muster for one test: a directory, a configuration, and the servers that run on it.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use tempfile::TempDir;
use testkit::postgres::TestDatabase;

use super::leaks;
use super::person::Person;
use super::port::Port;
use super::process::{Output, Process, run};
use super::wait::pause;

/// What stands before the address in the server's first line.
const READY: &str = "Muster is ready at ";

/// The database of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Database {
    Sqlite,
    Postgres,
}

/// A directory that every user of the machine can enter, gone with the value.
pub(crate) fn dir_for_all() -> TempDir {
    let open = Permissions::from_mode(0o755);
    // Not in /tmp: every task has one of its own, and what it does not see must be hidden by Muster itself.
    tempfile::Builder::new()
        .prefix("muster-e2e-")
        .permissions(open)
        .tempdir_in("/var/tmp")
        .expect("a directory")
}

/// Sets a mode, and an owner with the group of the same number.
pub(crate) fn mode(path: &Path, bits: u32, owner: u32) {
    chown(path, Some(owner), Some(owner)).expect("we are root");
    fs::set_permissions(path, Permissions::from_mode(bits)).expect("we are root");
}

/// A test that isn't about the Python of tasks has none made: that takes minutes.
fn without_python(config: &str) -> String {
    const NONE: &str = "task_environment: none";
    if config.contains("task_environment") {
        return config.to_owned();
    }
    if config.contains("agent: {") {
        return config.replacen("agent: {", &format!("agent: {{{NONE}, "), 1);
    }
    assert!(!config.contains("agent:"), "write it as agent: {{…}}");
    format!("{config}agent: {{{NONE}}}\n")
}

/// What an installation is to be like.
#[derive(Debug)]
pub(crate) struct Setup {
    role: &'static str,
    args: Vec<String>,
    config: String,
    uid: Option<u32>,
    database: Database,
    keeps_port: bool,
    data_dir: Option<PathBuf>,
    accounts: Option<[&'static str; 2]>,
    wrapper: Vec<String>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            role: "up",
            args: vec!["--slots".to_owned(), "4".to_owned()],
            config: String::new(),
            uid: None,
            database: Database::Sqlite,
            keeps_port: false,
            data_dir: None,
            accounts: None,
            wrapper: Vec::new(),
        }
    }
}

impl Setup {
    /// A master without an agent.
    pub(crate) fn master_alone(self) -> Self {
        Self { role: "master", args: Vec::new(), ..self }
    }

    pub(crate) fn slots(self, slots: u32) -> Self {
        Self { args: vec!["--slots".to_owned(), slots.to_string()], ..self }
    }

    /// Lines of `master.yaml`.
    pub(crate) fn config(self, yaml: &str) -> Self {
        Self { config: format!("{}{yaml}\n", self.config), ..self }
    }

    /// Run as this user, who has no name on the machine.
    pub(crate) fn uid(self, uid: u32) -> Self {
        Self { uid: Some(uid), ..self }
    }

    pub(crate) fn on(self, database: Database) -> Self {
        Self { database, ..self }
    }

    /// The same address after a restart.
    pub(crate) fn keeps_port(self) -> Self {
        Self { keeps_port: true, ..self }
    }

    /// A program that starts the server in place of the test: `prlimit` and its like.
    pub(crate) fn wrapped(self, program: &[&str]) -> Self {
        Self { wrapper: program.iter().map(|word| (*word).to_owned()).collect(), ..self }
    }

    /// A data directory elsewhere.
    pub(crate) fn data_dir(self, path: PathBuf) -> Self {
        Self { data_dir: Some(path), ..self }
    }

    /// A machine with these further lines of `/etc/passwd` and `/etc/group`, which are `passwd` and `group` in the
    /// installation's directory.
    pub(crate) fn accounts(self, passwd: &'static str, group: &'static str) -> Self {
        Self { accounts: Some([passwd, group]), ..self }
    }

    /// Makes the installation, without starting anything.
    pub(crate) fn install(self) -> Muster {
        let dir = dir_for_all();
        let (own, theirs) = (self.uid.unwrap_or(0), PathBuf::from(env!("CARGO_BIN_EXE_muster")));
        let data = self.data_dir.clone().unwrap_or_else(|| dir.path().join("data"));
        fs::create_dir(&data).expect("a directory");
        mode(&data, 0o700, own);
        // The build directory may be out of other users' reach.
        let exe = if self.uid.is_some() { dir.path().join("muster") } else { theirs.clone() };
        if exe != theirs {
            fs::copy(theirs, &exe).expect("copied");
        }
        let database = (self.database == Database::Postgres).then(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(TestDatabase::create())
        });
        let url = database.as_ref().map(|db| format!("db: {{url: '{}'}}\n", db.url())).unwrap_or_default();
        let config = dir.path().join("master.yaml");
        fs::write(&config, format!("{url}{}", without_python(&self.config))).expect("written");
        mode(&config, 0o600, own);
        for (file, lines) in ["passwd", "group"].into_iter().zip(self.accounts.into_iter().flatten()) {
            let machine = fs::read_to_string(Path::new("/etc").join(file)).expect("readable");
            fs::write(dir.path().join(file), format!("{machine}{lines}")).expect("written");
            mode(&dir.path().join(file), 0o644, 0);
        }
        let port = self.keeps_port.then(Port::reserve);
        Muster { setup: self, dir, data, exe, port, url: String::new(), server: None, _database: database }
    }

    /// Makes the installation and starts it.
    #[track_caller]
    pub(crate) fn up(self) -> Muster {
        let mut muster = self.install();
        muster.begin();
        muster
    }
}

/// An installation. When it goes, its tasks end, and nothing of it may be left on the machine.
#[derive(Debug)]
pub(crate) struct Muster {
    setup: Setup,
    pub(crate) dir: TempDir,
    data: PathBuf,
    exe: PathBuf,
    port: Option<Port>,
    pub(crate) url: String,
    server: Option<Process>,
    _database: Option<TestDatabase>,
}

impl Muster {
    /// `muster up` with nothing special.
    #[track_caller]
    pub(crate) fn up() -> Self {
        Setup::default().up()
    }

    /// Where everything is kept.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.data.clone()
    }

    /// Any role of the binary, as the installation's user.
    pub(crate) fn role(&self, args: &[&str]) -> Command {
        let mut command = self.program(&self.exe);
        command.args(args);
        command
    }

    /// Any program, as the installation's user.
    fn program(&self, program: impl AsRef<OsStr>) -> Command {
        let home = self.dir.path().join("server-home");
        fs::create_dir_all(&home).expect("a directory");
        mode(&home, 0o700, self.setup.uid.unwrap_or(0));
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", &home)
            // Whoever isn't let in is asked why.
            .env("MUSTER_LOG", "info,web::origin=debug")
            .current_dir(&home);
        if let Some(uid) = self.setup.uid {
            command.uid(uid).gid(uid);
        }
        command
    }

    /// The server's command line.
    pub(crate) fn server_command(&self) -> Command {
        let listen = self.port.as_ref().map_or_else(|| "127.0.0.1:0".to_owned(), Port::address);
        let mut words = self.setup.wrapper.clone();
        words.push(self.exe.to_str().expect("text").to_owned());
        words.extend([self.setup.role.to_owned(), "--listen".to_owned(), listen]);
        let mut command = self.program(&words[0]);
        command.args(&words[1..]);
        command.arg("--data-dir").arg(self.data_dir());
        command.arg("--config").arg(self.dir.path().join("master.yaml")).args(&self.setup.args);
        if self.setup.accounts.is_some() { self.with_accounts(&command) } else { command }
    }

    /// The same command where the machine has further accounts.
    fn with_accounts(&self, command: &Command) -> Command {
        let dir = self.dir.path().display();
        let mounts = format!("mount --bind {dir}/passwd /etc/passwd && mount --bind {dir}/group /etc/group");
        let server = std::iter::once(command.get_program()).chain(command.get_args());
        let script = format!("{mounts} && exec \"$@\"");
        let mut there = Command::new("/usr/bin/unshare");
        there.args(["--mount", "--propagation", "private", "/bin/sh", "-c", &script, "sh"]).args(server);
        there.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        there.current_dir(command.get_current_dir().expect("set"));
        there
    }

    /// Starts the server and waits until it is ready.
    #[track_caller]
    pub(crate) fn begin(&mut self) {
        let mut command = self.server_command();
        self.begin_with(&mut command);
    }

    /// The same with another command line.
    #[track_caller]
    pub(crate) fn begin_with(&mut self, command: &mut Command) {
        let server = Process::start(command, "");
        self.url = match server.stdout.first_line() {
            Some(line) if line.starts_with(READY) => line[READY.len()..].to_owned(),
            said => panic!("says {said:?}, and in its log:\n{}", server.finish().err()),
        };
        self.server = Some(server);
    }

    /// Starts the server and kills it after a time, ready or not.
    pub(crate) fn begin_and_kill(&self, after: Duration) {
        let server = Process::start(&mut self.server_command(), "");
        pause(after);
        server.kill();
    }

    pub(crate) fn server(&self) -> &Process {
        self.server.as_ref().expect("it runs")
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.server.take().expect("it runs").kill();
    }

    /// Asks the server to end; gives what it said.
    #[track_caller]
    pub(crate) fn stop(&mut self) -> (Output, Duration) {
        self.server.take().expect("it runs").end(Signal::SIGTERM)
    }

    /// `muster down`.
    pub(crate) fn down(&self) -> Output {
        let mut command = self.role(&["down", "--data-dir"]);
        run(command.arg(self.data_dir()), "")
    }

    /// `muster down` of the agent by itself.
    pub(crate) fn agent_down(&self) -> Output {
        let mut command = self.role(&["down", "--data-dir"]);
        run(command.arg(self.apart().join("agent")), "")
    }

    /// An agent by itself, with the name `NAME` and a directory below `apart`.
    pub(crate) fn agent(&self, name: &str, options: &[&str]) -> Process {
        let mut command = self.role(&["agent", "--master", &self.url, "--name", name, "--data-dir"]);
        command.arg(self.apart().join("agent")).args(options);
        if !options.contains(&"--config") {
            let config = self.dir.path().join("agent.yaml");
            fs::write(&config, without_python("").replace("agent: {", "").replace('}', "")).expect("written");
            mode(&config, 0o644, 0);
            command.arg("--config").arg(config);
        }
        Process::start(&mut command, "")
    }

    fn apart(&self) -> PathBuf {
        self.dir.path().join("apart")
    }

    /// Somebody with a home of their own.
    pub(crate) fn person(&self, name: &str) -> Person {
        let home = self.dir.path().join("home").join(name);
        fs::create_dir_all(&home).expect("a directory");
        let uid = self.setup.uid;
        if let Some(uid) = uid {
            mode(&home, 0o755, uid);
        }
        Person { home, exe: self.exe.clone(), url: self.url.clone(), uid }
    }

    /// Somebody who acts as administrator: `muster` for them is `muster -u admin`.
    pub(crate) fn admin(&self) -> Person {
        let admin = self.person("admin");
        admin.muster("user login admin").exits(0);
        admin
    }

    /// Somebody with an account of their own, logged in.
    pub(crate) fn user(&self, name: &str) -> Person {
        let user = self.person(name);
        user.muster(&format!("-u admin user create {name}")).exits(0);
        user.muster(&format!("user login {name}")).exits(0);
        user
    }

    /// The same, linked to uid and gid `id` of that name and group `lab`.
    pub(crate) fn linked_user(&self, name: &str, id: u32) -> Person {
        let user = self.user(name);
        let link = format!(
            "user link-with-agent-user {name} --agent-uid {id} --agent-user {name} --agent-gid {id} --agent-group lab"
        );
        user.muster(&format!("-u admin {link}")).exits(0);
        user
    }
}

impl Drop for Muster {
    #[expect(clippy::print_stderr, reason = "a failed test shows what the server had to say")]
    fn drop(&mut self) {
        // After a failed test all is ended too, but its own message is the one that counts.
        let failed = std::thread::panicking();
        let down = self.down();
        if let Some(server) = self.server.take() {
            let output = server.finish();
            if failed {
                eprintln!("the server's log:\n{}", String::from_utf8_lossy(&output.stderr));
            }
        }
        if self.apart().exists() {
            let _ = self.agent_down();
        }
        if !failed {
            down.exits(0);
            leaks::assert_none(self.dir.path());
        }
    }
}
