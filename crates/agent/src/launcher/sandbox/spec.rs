//! From the master's words to the launcher's: what to run, as whom, with what. Whether it is allowed was decided by
//! the master; what this machine can't give is refused here (R37).

use api::agent::Start;
use domain::agent::Power;
use domain::config::{BindMount, Network};
use domain::identity::MachineNumber;
use launch::TaskSpec;
use launch::spec::{self, Propagation};

use super::{Sandbox, identity};
use crate::launcher::Refusal;

/// The file of a configuration's `startup_hook`, in [`spec::RUN_DIR`] (contract "runtime", section 3.2).
const STARTUP_HOOK: &str = "dynamic-tcd-startup-hook.sh";

/// Sources what the work directory has for it, then becomes the command. The same shell, so that exported variables stay.
const WITH_STARTUP_HOOK: &str = r#"if [ -f ./startup-hook.sh ]; then . ./startup-hook.sh; fi; exec "$@""#;

/// What the shim is told. `groups` are those of [`identity::groups`], `master` is whose account it is.
///
/// # Errors
/// When this machine can't run it.
pub(super) fn task_spec(
    sandbox: &Sandbox,
    start: &Start,
    master: &str,
    groups: Vec<u32>,
) -> Result<TaskSpec, Refusal> {
    let spec = TaskSpec {
        task_id: start.allocation.to_string(),
        argv: argv(start),
        env: env(sandbox, start),
        identity: identity::checked(sandbox, &start.identity)?,
        groups,
        work_dir: start.work_dir.as_deref().map(|dir| expand(dir, start)),
        bind_mounts: bind_mounts(sandbox, start)?,
        limits: sandbox.limits,
        owner: owner(sandbox, start, master)?,
        shm_bytes: start.shm_bytes.or(sandbox.shm_bytes),
        run_bytes: sandbox.run_bytes,
        kill_grace_ms: u64::try_from(sandbox.kill_grace.as_millis()).unwrap_or(u64::MAX),
        seccomp: sandbox.seccomp,
        mode: sandbox.mode,
        masked: sandbox.masked.clone(),
        bind_prefixes: sandbox.bind_prefixes.clone(),
        late_mounts: sandbox.late_mounts.clone(),
        devices: sandbox.found.files(&start.slots),
        fence_devices: sandbox.found.fenced,
        network: network(sandbox, start.network)?,
        reach: sandbox.reach.clone(),
        guarded: sandbox.guarded.clone(),
        relay_env: relay_env(),
        shown: vec![],
        own_files: start.startup_hook.iter().map(|hook| hook_file(hook)).collect(),
        unfinished: false,
    };
    spec.check().map_err(|e| Refusal::Senseless(e.to_string()))?;
    Ok(spec)
}

/// The account, as this machine names it: another agent's master on the same machine has accounts of its own. A master of an
/// earlier version doesn't say whose the task is.
fn owner(sandbox: &Sandbox, start: &Start, master: &str) -> Result<Option<spec::Owner>, Refusal> {
    let Some(number) = start.owner else { return Ok(None) };
    // No two accounts are ever one here (F10).
    let Some(number) = MachineNumber::new(number).map(MachineNumber::get) else {
        return Err(Refusal::Account(number));
    };
    let master: String = master.chars().take(8).collect();
    let key = format!("{number}-{master}");
    Ok(Some(spec::Owner { key, account: Some(number), limits: sandbox.account_limits }))
}

/// A task may have less than the administrator of this machine allows, never more.
fn network(sandbox: &Sandbox, wanted: Option<Network>) -> Result<spec::Network, Refusal> {
    let most = sandbox.network;
    let wanted = wanted.unwrap_or(most);
    if wanted > most {
        return Err(Refusal::Network { agent: sandbox.agent.clone(), wanted, most });
    }
    Ok(match wanted {
        Network::None => spec::Network::None,
        Network::Private => spec::Network::Private,
        Network::Host => spec::Network::Host,
    })
}

/// How the task's clients are told where the master is. A relay takes them there (A2, A3); it speaks plain HTTP, for
/// nothing of it leaves the machine unencrypted.
fn relay_env() -> Vec<(String, String)> {
    let variables = [
        ("DET_MASTER", "http://127.0.0.1:{port}"),
        ("DET_MASTER_ADDR", "127.0.0.1"),
        ("DET_MASTER_HOST", "127.0.0.1"),
        ("DET_MASTER_PORT", "{port}"),
        ("DET_USE_TLS", "false"),
        ("MUSTER_MASTER", "http://127.0.0.1:{port}"),
    ];
    variables.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

fn hook_file(hook: &str) -> spec::OwnFile {
    spec::OwnFile { path: STARTUP_HOOK.into(), content: spec::Content::Text(hook.to_owned()) }
}

fn argv(start: &Start) -> Vec<String> {
    let shell = |shell: &str, script: &str| vec![shell.to_owned(), "-c".to_owned(), script.to_owned()];
    let command = match start.entrypoint.as_slice() {
        [line] => shell("/bin/sh", line),
        words => words.to_vec(),
    };
    // A private work directory has nothing in it that doesn't come from a context directory.
    if !start.has_context && start.work_dir.is_none() && start.startup_hook.is_none() {
        return command;
    }
    // Hooks that were written for Determined are bash's. What is the machine's is the task's.
    let bash = std::path::Path::new("/bin/bash").exists();
    let hook = start.startup_hook.as_ref().map(|_| format!(". {}/{STARTUP_HOOK}; ", spec::RUN_DIR));
    let script = format!("{}{WITH_STARTUP_HOOK}", hook.unwrap_or_default());
    let mut argv = shell(if bash { "/bin/bash" } else { "/bin/sh" }, &script);
    argv.push(if bash { "bash" } else { "sh" }.to_owned());
    argv.extend(command);
    argv
}

/// A proxy has no way to the task's own loopback address, where its relay to the master is.
fn spare_relay_the_proxy(env: &mut Vec<(String, String)>) {
    const PROXIES: [&str; 3] = ["http_proxy", "https_proxy", "all_proxy"];
    if !env.iter().any(|(key, _)| PROXIES.iter().any(|name| key.eq_ignore_ascii_case(name))) {
        return;
    }
    for name in ["no_proxy", "NO_PROXY"] {
        let spared = env.iter().rev().find(|(key, value)| key == name && !value.is_empty());
        let spared = spared.map_or("127.0.0.1".to_owned(), |(_, value)| format!("{value},127.0.0.1"));
        env.retain(|(key, _)| key != name);
        env.push((name.to_owned(), spared));
    }
}

fn env(sandbox: &Sandbox, start: &Start) -> Vec<(String, String)> {
    let mut env = start.env.clone();
    spare_relay_the_proxy(&mut env);
    let gpus = sandbox.found.serials(&start.slots);
    if !gpus.is_empty() {
        for name in ["CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"] {
            env.retain(|(key, _)| key != name);
            env.push((name.to_owned(), gpus.join(",")));
        }
    }
    env
}

/// `$AGENT_USER` and `$DET_USER` stand for the task's Unix user and its owner's account.
fn expand(dir: &str, start: &Start) -> String {
    let owner = start.env.iter().find(|(key, _)| key == "DET_USER");
    let owner = owner.map_or("", |(_, value)| value.as_str());
    let mut dir = dir.to_owned();
    for (name, value) in [("AGENT_USER", start.identity.user.as_str()), ("DET_USER", owner)] {
        dir = dir.replace(&format!("${{{name}}}"), value).replace(&format!("${name}"), value);
    }
    dir
}

/// An agent without root that takes tasks of every account runs all of them as itself: to each account its own files would
/// be everybody's (F12).
fn bind_mounts(sandbox: &Sandbox, start: &Start) -> Result<Vec<spec::BindMount>, Refusal> {
    let shared = matches!(sandbox.power, Power::Unprivileged { shared: true, .. });
    if shared && sandbox.bind_prefixes.is_none() && !start.bind_mounts.is_empty() {
        return Err(Refusal::BindMounts(sandbox.agent.clone()));
    }
    start.bind_mounts.iter().map(bind_mount).collect()
}

fn bind_mount(mount: &BindMount) -> Result<spec::BindMount, Refusal> {
    let propagation = match mount.propagation.as_str() {
        "rprivate" => Propagation::Rprivate,
        "private" => Propagation::Private,
        "rslave" => Propagation::Rslave,
        "slave" => Propagation::Slave,
        "rshared" => Propagation::Rshared,
        "shared" => Propagation::Shared,
        other => return Err(Refusal::Propagation(other.to_owned())),
    };
    Ok(spec::BindMount {
        host_path: mount.host_path.clone().into(),
        container_path: mount.container_path.clone().into(),
        read_only: mount.read_only,
        propagation,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::device::Found;
    use crate::reserve::Reserve;
    use domain::agent::{Device, DeviceKind};
    use domain::identity::UnixIdentity;
    use domain::system_ids::AllowedIds;
    use launch::spec::{Limits, Mode, Together};

    pub(crate) fn sandbox(power: Power) -> Sandbox {
        let gpu =
            |id| Device { id, kind: DeviceKind::Cuda, brand: "X".into(), uuid: format!("GPU-{id}").into() };
        Sandbox {
            agent: "a1".parse().expect("valid"),
            found: Arc::new(Found::of(vec![gpu(0), gpu(1)])),
            power,
            shim_exe: "shim".into(),
            mode: Mode::Unprivileged,
            allowed_ids: AllowedIds::default(),
            machine_groups: true,
            limits: Limits::default(),
            account_limits: Together { memory_bytes: Some(1 << 30), pids: Some(9) },
            run_bytes: None,
            shm_bytes: None,
            kill_grace: std::time::Duration::ZERO,
            seccomp: spec::Seccomp::Default,
            reserve: Arc::new(Reserve::none()),
            masked: vec![],
            bind_prefixes: None,
            late_mounts: vec![],
            network: Network::Private,
            reach: vec![],
            guarded: vec![],
            data_dir: "/none".into(),
        }
    }

    pub(crate) fn start() -> Start {
        Start {
            allocation: "6f1c7f3e-5b0f-4a4c-9d8e-2b1a00000000.1".parse().expect("valid"),
            owner: None,
            entrypoint: vec!["echo hi".into()],
            env: vec![("DET_USER".into(), "ann".into()), ("CUDA_VISIBLE_DEVICES".into(), "all".into())],
            identity: UnixIdentity { user: "lab".into(), uid: 5001, group: "lab".into(), gid: 5001 },
            work_dir: Some("/home/${AGENT_USER}/$DET_USER".into()),
            bind_mounts: vec![],
            shm_bytes: None,
            network: None,
            slots: vec![],
            has_context: false,
            given: String::new(),
            startup_hook: None,
            token: "t".into(),
        }
    }

    #[test]
    fn command_environment_and_work_dir() {
        let machine = sandbox(Power::Root);
        let spec = task_spec(&machine, &start(), "", vec![]).expect("possible");
        assert_eq!(spec.argv[4..], ["/bin/sh", "-c", "echo hi"], "its work directory may have a hook");
        assert_eq!(spec.work_dir.as_deref(), Some("/home/lab/ann"));
        assert!(spec.devices.is_empty());
        assert!(spec.env.contains(&("CUDA_VISIBLE_DEVICES".into(), "all".into())));

        let on_gpu = Start {
            slots: vec![1],
            entrypoint: vec!["python".into(), "x.py".into()],
            has_context: true,
            ..start()
        };
        let spec = task_spec(&machine, &on_gpu, "", vec![]).expect("possible");
        assert_eq!(spec.argv[1..3], ["-c", WITH_STARTUP_HOOK]);
        assert_eq!(spec.argv[4..], ["python", "x.py"]);
        assert!(spec.own_files.is_empty());
        let cuda: Vec<_> = spec.env.iter().filter(|(k, _)| k == "CUDA_VISIBLE_DEVICES").collect();
        assert_eq!(cuda, [&("CUDA_VISIBLE_DEVICES".to_owned(), "GPU-1".to_owned())]);

        let private = Start { work_dir: None, ..start() };
        let spec = task_spec(&machine, &private, "", vec![]).expect("possible");
        assert_eq!(spec.argv, ["/bin/sh", "-c", "echo hi"], "nothing is in its work directory");
        let hooked = Start { startup_hook: Some("export A=1".into()), ..private };
        let spec = task_spec(&machine, &hooked, "", vec![]).expect("possible");
        assert!(
            spec.argv[2].starts_with(". /run/determined/dynamic-tcd-startup-hook.sh; "),
            "{:?}",
            spec.argv
        );
        assert_eq!(spec.own_files, [hook_file("export A=1")]);
    }

    #[test]
    fn a12_whose_a_task_is_is_its_account_and_not_its_unix_user() {
        let machine = sandbox(Power::Root);
        let owner = |number| {
            let start = Start { owner: number, ..start() };
            task_spec(&machine, &start, "", vec![]).map(|spec| spec.owner)
        };
        let [one, two] = [7, 8].map(|number| owner(Some(number)).expect("possible").expect("told"));
        assert!(one.key.starts_with("7-") && two.key.starts_with("8-"), "{one:?} {two:?}");
        assert_eq!([one.account, two.account], [Some(7), Some(8)]);
        assert_eq!(one.limits, machine.account_limits);
        assert_eq!(owner(None), Ok(None), "a master of an earlier version");
    }

    /// The host id of a number is one account's, or nobody's: no number is taken for another one.
    #[test]
    fn f10_a_number_that_there_is_not_is_refused() {
        let machine = sandbox(Power::Root);
        let account = |number| {
            let start = Start { owner: Some(number), ..start() };
            task_spec(&machine, &start, "", vec![]).map(|spec| spec.owner.and_then(|owner| owner.account))
        };
        assert_eq!(account(MachineNumber::SPACE - 1), Ok(Some(MachineNumber::SPACE - 1)));
        for number in [MachineNumber::SPACE, MachineNumber::SPACE + 7, u32::MAX] {
            let refused = account(number).expect_err("no account's").to_string();
            assert!(refused.contains(&number.to_string()), "{refused}");
        }
    }

    /// What the master takes for tasks' is what they can be.
    #[test]
    fn d05_the_ids_of_tasks_are_as_many_as_the_master_thinks() {
        assert_eq!(launch::TASK_IDS, domain::identity::TASK_IDS);
        assert_eq!(launch::ACCOUNTS, MachineNumber::SPACE);
    }

    #[test]
    fn a02_more_network_than_the_administrator_gives_is_refused() {
        use Network::{Host, None, Private};
        let mut machine = sandbox(Power::Root);
        for (most, wanted, given) in [
            (Private, Option::None, Ok("private")),
            (Private, Some(None), Ok("none")),
            (
                Private,
                Some(Host),
                Err("network: host is more than agent a1 gives its tasks, which is private"),
            ),
            (Host, Option::None, Ok("host")),
            (Host, Some(Private), Ok("private")),
            (None, Option::None, Ok("none")),
            (None, Some(Private), Err("`agent.network: private`")),
        ] {
            machine.network = most;
            let spec = task_spec(&machine, &Start { network: wanted, ..start() }, "", vec![]);
            match (spec.map(|spec| format!("{:?}", spec.network).to_lowercase()), given) {
                (Ok(network), Ok(given)) => assert_eq!(network, given),
                (Err(why), Err(part)) => assert!(why.to_string().contains(part), "{why}"),
                (got, given) => panic!("{got:?} for {given:?}"),
            }
        }
    }

    #[test]
    fn a03_the_way_to_the_master_goes_past_a_proxy() {
        let machine = sandbox(Power::Root);
        let mut start = start();
        let spec = task_spec(&machine, &start, "", vec![]).expect("possible");
        assert!(spec.env.iter().all(|(key, _)| !key.eq_ignore_ascii_case("no_proxy")));
        let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        start.env.extend([variable("HTTP_PROXY", "http://p:1"), variable("no_proxy", "lab.example")]);
        let spec = task_spec(&machine, &start, "", vec![]).expect("possible");
        for pair in [variable("no_proxy", "lab.example,127.0.0.1"), variable("NO_PROXY", "127.0.0.1")] {
            assert!(spec.env.contains(&pair), "{:?}", spec.env);
        }
        assert!(spec.relay_env.contains(&variable("DET_MASTER", "http://127.0.0.1:{port}")));
    }

    #[test]
    fn r38_an_agent_without_root_that_is_everybodys_has_no_files_for_everybody() {
        let shared = |shared| Power::Unprivileged { uid: 5001, gid: 5001, shared };
        let mut machine = sandbox(shared(true));
        let mount = BindMount {
            host_path: "/data".into(),
            container_path: "/data".into(),
            read_only: true,
            propagation: "rprivate".into(),
        };
        let start = Start { bind_mounts: vec![mount], ..start() };
        let refused = task_spec(&machine, &start, "", vec![]).expect_err("its own files").to_string();
        assert!(refused.contains("agent.bind_prefixes"), "{refused}");
        assert!(task_spec(&machine, &Start { bind_mounts: vec![], ..start.clone() }, "", vec![]).is_ok());
        machine.bind_prefixes = Some(vec!["/data".into()]);
        assert!(task_spec(&machine, &start, "", vec![]).is_ok());
        machine.bind_prefixes = None;
        machine.power = shared(false);
        assert!(task_spec(&machine, &start, "", vec![]).is_ok());
    }

    #[test]
    fn r37_a11_identities_are_exact_or_refused() {
        let own = Power::Unprivileged { uid: 1000, gid: 1000, shared: true };
        let mut machine = sandbox(own);
        let refusal = task_spec(&machine, &start(), "", vec![]).expect_err("not its uid").to_string();
        assert!(refusal.contains("start the agent as root"), "{refusal}");
        machine.power = Power::Root;
        for (uid, gid) in [(u32::MAX, 1), (1, u32::MAX), (5, 0)] {
            let mut start = start();
            (start.identity.uid, start.identity.gid) = (uid, gid);
            assert!(task_spec(&machine, &start, "", vec![]).is_err(), "{uid}:{gid}");
        }
        for (uid, gid) in [(1, 5001), (5001, 6)] {
            let mut start = start();
            (start.identity.uid, start.identity.gid) = (uid, gid);
            let refused = task_spec(&machine, &start, "", vec![]).expect_err("the system's").to_string();
            assert!(refused.contains("agent.allowed_ids"), "{refused}");
        }
        let mut start = start();
        start.identity.user = "a:b".into();
        assert!(task_spec(&machine, &start, "", vec![]).is_err());
    }
}
