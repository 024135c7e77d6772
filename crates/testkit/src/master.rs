//! A real master in this process: real services, real routes, a real listener. Only the clock is not.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::linux::net::SocketAddrExt as _;
use std::sync::Arc;
use std::time::Duration;

use api::agent::Start;
use domain::authz::System;
use domain::id::UserId;
use domain::registration::{Registration, State};
use domain::time::Timestamp;
use domain::user::{Password, Status};
use master::config::{Pool, Scheduler};
use master::own_log::OwnLog;
use master::system::{Clock as _, SystemEntropy};
use master::{Config, Master, Parts, secret};
use serde_json::json;
use store::Store;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::task::JoinHandle;

use crate::agent::{FakeAgent, Key};
use crate::http::{Http, Requests};
use crate::role::{Anon, Task, User};
use crate::{Batch, Database, FakeClock, Storage, soon};

/// A master; its database and data directory go with it.
pub struct TestMaster {
    /// The master's time.
    pub clock: Arc<FakeClock>,
    /// What the master says in its own log.
    pub own_log: OwnLog,
    config: Config,
    /// What besides agents work runs on, by name; of each start a fresh manager.
    batches: Vec<(String, Batch)>,
    address: SocketAddr,
    running: Option<Running>,
    /// Last: dropped after what uses it.
    storage: Storage,
}

struct Running {
    master: Master,
    store: Store,
    server: JoinHandle<()>,
}

impl TestMaster {
    /// Starts one with the default configuration on a free port of 127.0.0.1.
    pub async fn start(database: Database) -> Self {
        Self::configured(database, |_| {}).await
    }

    /// Starts one with another configuration.
    pub async fn configured(database: Database, configure: impl FnOnce(&mut Config)) -> Self {
        Self::listening(database, IpAddr::V4(Ipv4Addr::LOCALHOST), configure).await
    }

    /// Starts one on a free port of another address.
    pub async fn listening(database: Database, ip: IpAddr, configure: impl FnOnce(&mut Config)) -> Self {
        // Hundreds of masters run beside each other.
        let mut config = Config { disk_reserve_bytes: 0, ..Config::default() };
        configure(&mut config);
        Self::with(Storage::create(database).await, ip, config, Vec::new()).await
    }

    /// Starts one whose pool of that name is a batch system's, which pools know by the same name.
    pub async fn with_batch(database: Database, name: &str, batch: &Batch) -> Self {
        let scheduler = Scheduler { preemption: true, ..Scheduler::default() };
        let (pool_name, manager) = (name.to_owned(), name.to_owned());
        let pool = Pool { pool_name, manager, scheduler, ..Pool::default() };
        let config = Config { disk_reserve_bytes: 0, resource_pools: vec![pool], ..Config::default() };
        let (ip, batches) = (IpAddr::V4(Ipv4Addr::LOCALHOST), vec![(name.to_owned(), batch.clone())]);
        Self::with(Storage::create(database).await, ip, config, batches).await
    }

    /// Starts one whose data directory is a small disk of its own, of a size as `mount` takes it. Needs root.
    pub async fn on_small_disk(size: &str, configure: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config { disk_reserve_bytes: 0, ..Config::default() };
        configure(&mut config);
        let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Self::with(Storage::on_small_disk(size), ip, config, Vec::new()).await
    }

    async fn with(storage: Storage, ip: IpAddr, config: Config, batches: Vec<(String, Batch)>) -> Self {
        let address = SocketAddr::new(ip, 0);
        let (clock, own_log) = (Arc::default(), OwnLog::default());
        let mut test = Self { clock, own_log, config, batches, address, running: None, storage };
        test.boot().await;
        test
    }

    /// Starts the master on what it left, at the same address.
    pub async fn boot(&mut self) {
        self.try_boot().await.expect("the master starts");
    }

    /// As [`Self::boot`], where it may be refused.
    ///
    /// # Errors
    /// What the master says.
    pub async fn try_boot(&mut self) -> Result<(), ::master::Error> {
        assert!(self.running.is_none(), "it runs");
        let store = self.storage.open().await;
        let parts = Parts {
            store: store.clone(),
            data_dir: self.storage.data_dir(),
            config: self.config.clone(),
            clock: self.clock.clone(),
            own_log: self.own_log.clone(),
            entropy: Arc::new(SystemEntropy),
            managers: self.batches.iter().map(|(name, batch)| (name.clone(), batch.manager())).collect(),
            system: System::at_start(),
        };
        let master = match Master::start(parts).await {
            Ok(master) => master,
            Err(error) => {
                store.close().await;
                return Err(error);
            }
        };
        let listener = TcpListener::bind(self.address).await.expect("the address is free");
        self.address = listener.local_addr().expect("bound");
        let app = web::App::new(master.clone(), self.address).among_its_own_callers();
        let own = std::os::unix::net::UnixListener::bind_addr(&own_address(self.address)).expect("free");
        own.set_nonblocking(true).expect("a socket");
        let own = UnixListener::from_std(own).expect("a socket");
        let server = tokio::spawn(async move {
            web::serve(vec![web::Door::plain(listener), web::Door::Unix(own)], app).await;
        });
        self.running = Some(Running { master, store, server });
        Ok(())
    }

    /// Stops the master; tasks go on.
    pub async fn stop(&mut self) {
        let running = self.running.take().expect("it runs");
        soon("the master's stop", running.master.stop()).await;
        soon("the server's end", running.server).await.expect("it ended");
    }

    /// Changes the configuration; it counts from the next start on.
    pub fn reconfigure(&mut self, configure: impl FnOnce(&mut Config)) {
        configure(&mut self.config);
    }

    /// Stops the master and starts another one on the same data.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.boot().await;
    }

    /// A back-up, made while it is stopped.
    pub async fn back_up(&mut self) -> Storage {
        self.stop().await;
        let copy = self.storage.copy().await;
        self.boot().await;
        copy
    }

    /// Goes on with what a back-up has; all since then is forgotten.
    pub async fn restore(&mut self, back_up: Storage) {
        self.stop().await;
        self.storage = back_up;
        self.boot().await;
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("it runs")
    }

    /// The services.
    #[must_use]
    pub fn services(&self) -> &Master {
        &self.running().master
    }

    /// The database, for what has no service yet.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.running().store
    }

    /// Where everything is kept.
    #[must_use]
    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A connection to its Unix socket.
    pub async fn own_socket(&self) -> UnixStream {
        let stream = std::os::unix::net::UnixStream::connect_addr(&own_address(self.address));
        let stream = stream.expect("it listens");
        stream.set_nonblocking(true).expect("a socket");
        UnixStream::from_std(stream).expect("a socket")
    }

    /// `http://127.0.0.1:port`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Somebody without credentials.
    #[must_use]
    pub fn anon(&self) -> Anon {
        Anon(Http::new(&self.url()))
    }

    /// Logs in with a blank password.
    pub async fn log_in(&self, name: &str) -> User {
        self.log_in_with(name, "").await
    }

    /// Logs in.
    pub async fn log_in_with(&self, name: &str, password: &str) -> User {
        let anon = self.anon();
        let answer = anon.log_in(name, password).await.ok();
        let token = answer["token"].as_str().expect("a token");
        User::new(&anon.0, answer["user"]["id"].as_i64().expect("an id"), name, token)
    }

    /// A fresh session of `admin`.
    pub async fn admin(&self) -> User {
        self.log_in("admin").await
    }

    /// A fresh session of the default user.
    pub async fn default_user(&self) -> User {
        self.log_in("determined").await
    }

    /// Makes an account with a blank password and logs in.
    pub async fn user(&self, name: &str) -> User {
        let body = json!({"user": {"username": name, "active": true}});
        self.admin().await.post("/api/v1/users").json(body).await.ok();
        self.log_in(name).await
    }

    /// An account that registered and waits to be accepted, with a session that it can't have got by logging in.
    pub async fn pending(&self, name: &str) -> User {
        let now = self.clock.now();
        let user = domain::user::User {
            id: UserId(0),
            username: name.to_owned(),
            display_name: String::new(),
            admin: false,
            status: Status::Pending,
            remote: false,
            password: Password::Blank,
            identity: None,
            email: None,
            service: false,
            modified_at: now,
            last_login_at: None,
            deleted_at: None,
        };
        let mut tx = self.store().write().await.expect("a transaction");
        let user = store::user::insert(&mut tx, &user, now).await.expect("inserted");
        let registration = Registration {
            id: 0,
            username: name.to_owned(),
            email: format!("{name}@lab.example"),
            user: user.id,
            state: State::Pending,
            address: "192.0.2.1".to_owned(),
            created_at: now,
            decided_at: None,
            decided_by: None,
        };
        store::registration::insert(&mut tx, &registration).await.expect("inserted");
        tx.commit_unaudited("a test").await.expect("committed");
        self.session(user.id.0, name, now.plus(Duration::from_secs(60))).await
    }

    /// A session of `user` that has just ended.
    pub async fn expired(&self, user: &User) -> User {
        self.session(user.id, &user.name, self.clock.now()).await
    }

    async fn session(&self, id: i64, name: &str, end: Timestamp) -> User {
        let token = secret::token(&SystemEntropy, "mst");
        let digest = secret::digest(&token);
        let mut tx = self.store().write().await.expect("a transaction");
        let opened = store::session::insert(&mut tx, UserId(id), &digest, self.clock.now(), end).await;
        opened.expect("inserted");
        tx.commit_unaudited("a test").await.expect("committed");
        User::new(&self.anon().0, id, name, &token)
    }

    /// A fresh invitation, for one name or for any.
    pub async fn invitation(&self, name: Option<&str>) -> String {
        let body = json!({ "name": name });
        let admin = self.admin().await;
        let answer = admin.post("/api/v1/agents/invitations").json(body).await.ok();
        answer["token"].as_str().expect("a token").to_owned()
    }

    /// The code of a fresh invitation of a person.
    pub async fn code(&self) -> String {
        let answer = self.admin().await.post("/api/v1/invitations").await.ok();
        answer["code"].as_str().expect("a code").to_owned()
    }

    /// Asks for an account, as somebody would.
    pub async fn register(&self, name: &str) -> crate::Response {
        let wish =
            json!({"username": name, "email": format!("{name}@lab.example"), "password": "a quiet lake"});
        self.anon().post("/api/v1/users/register").json(wish).await
    }

    /// Enrols an agent with two CPU slots and root, and connects it.
    pub async fn agent(&self, name: &str) -> FakeAgent {
        let invitation = self.invitation(Some(name)).await;
        let key = Key::generate();
        key.enrol(self.address, &invitation, name).await.expect("enrolled");
        FakeAgent::connect(self, name, key).await
    }

    /// A running command of `owner`'s on `agent`, as itself.
    pub async fn task(&self, owner: &User, agent: &mut FakeAgent) -> Task {
        let id = owner.run_true().await;
        let start = agent.accept_start().await;
        assert_eq!(start.allocation.task.to_string(), id);
        owner.follow(&id).await.until("have started").await;
        self.task_of(start)
    }

    /// The task that an agent was told to start.
    #[must_use]
    pub fn task_of(&self, start: Start) -> Task {
        Task::new(&self.anon().0, start)
    }
}

/// Where its Unix socket is: no file, so that nothing is left of it.
fn own_address(address: SocketAddr) -> std::os::unix::net::SocketAddr {
    let name = format!("muster-test-{address}-{}", std::process::id());
    std::os::unix::net::SocketAddr::from_abstract_name(name).expect("short")
}

impl Drop for TestMaster {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.master.stopping().cancel();
            running.server.abort();
        }
    }
}
