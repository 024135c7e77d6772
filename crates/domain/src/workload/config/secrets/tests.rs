//! What others see of configurations.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn others(value: Value) -> Value {
    Shown::of(value, Some(Eyes::Others)).into_value()
}

fn line(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    masked_words(&words).join(" ")
}

#[test]
fn a10_variables_are_masked_and_storage_keys_left_out() {
    let config = json!({
        "environment": {
            "image": "lab/env:py-3.8-pytorch-1.12-0a1b2c3",
            "environment_variables": {"cpu": ["FOO=hunter2", "BARE"], "cuda": ["A=b=c"]},
            "registry_auth": {"username": "u", "password": "p"},
            "pod_spec": {"spec": {"imagePullSecrets": [1], "x": "mst_0123456789abcdefghij"}},
        },
        "bind_mounts": [{"host_path": "/data/imagenet2012", "container_path": "/d"}],
        "pbs": {"access_key": "a", "nested": [{"secret_key": "b", "bucket": "c"}], "url": "s3://u:p@h/x"},
        "slurm": {"sbatch_args": ["--export=DB=hunter2x", "--partition", "gpu", "-A", "group"]},
    });
    let expected = json!({
        "environment": {
            "image": "lab/env:py-3.8-pytorch-1.12-0a1b2c3",
            "environment_variables": {"cpu": ["FOO=********", "BARE"], "cuda": ["A=********"]},
            "pod_spec": {"spec": {"x": "********"}},
        },
        "bind_mounts": [{"host_path": "/data/imagenet2012", "container_path": "/d"}],
        "pbs": {"nested": [{"bucket": "c"}], "url": "s3://********@h/x"},
        "slurm": {"sbatch_args": ["--export=********", "--partition", "gpu", "-A", "********"]},
    });
    assert_eq!(others(config.clone()), expected);
    let own = Shown::of(config, None).into_value();
    assert_eq!(own["pbs"]["access_key"], "a");
    assert_eq!(own["environment"]["registry_auth"], Value::Null, "sent back to nobody");
    let variables = others(json!({"environment": {"environment_variables": ["A=1"]}}));
    assert_eq!(variables["environment"]["environment_variables"][0], "A=********");
}

#[test]
fn a10_of_command_lines_that_is_shown_which_can_be_no_secret() {
    for (words, shown) in [
        (vec!["train", "--token", "abc", "--lr", "1"], "train --token ******** --lr 1"),
        (vec!["train", "--api-key=abc"], "train --api-key=********"),
        (
            vec!["HF_TOKEN=abc python x.py --max-tokens 5 --tokenizer t"],
            "HF_TOKEN=******** python x.py --max-tokens 5 --tokenizer t",
        ),
        (vec!["PASSWORD='a b c' run"], "PASSWORD=********   run"),
        (vec!["curl -H 'Authorization: Bearer abc' u"], "curl -H ********   u"),
        (vec!["curl", "-H", "Authorization: Bearer abc", "u"], "curl -H ******** u"),
        (vec!["git clone https://me:pw@h/r.git"], "git clone https://********@h/r.git"),
        (vec!["echo", "ghp_0123456789abcdefghij"], "echo ********"),
        (vec!["echo", "author", "sk-learn"], "echo author sk-learn"),
        (
            vec!["python3", "-m", "torch.distributed.run", "train.py", "--batch-size", "64", "--lr", "1e-4"],
            "python3 -m torch.distributed.run train.py --batch-size 64 --lr 1e-4",
        ),
        (
            vec!["sh", "-c", "cd /data/imagenet && python train.py > out.log"],
            "sh -c cd /data/imagenet && python train.py > out.log",
        ),
        (vec!["cat", "/home/alice/exp7Qz19/run.log"], "cat /home/alice/********"),
        (vec!["nvidia-smi"], "nvidia-smi"),
        (vec!["true"], "true"),
    ] {
        assert_eq!(line(&words), shown);
    }
}

/// The ways of an attack: each showed its secret to strangers.
#[test]
fn a10_usual_ways_of_a_secret_in_a_command_line() {
    for script in [
        "curl -u alice:hunter2x http://h",
        "mysql -uroot -phunter2x",
        "sshpass -p hunter2x ssh h",
        "redis-cli -a hunter2x",
        "DB_PASS=hunter2x python t.py",
        "--wandb-key hunter2x",
        "--encryption-key=hunter2x",
        "curl -H \"X-Api-Key: hunter2x\" h",
        "curl -H \"Cookie: sid=hunter2x\" h",
        "curl \"https://h/?sig=hunter2x&x=1\"",
        "https://hooks.slack.com/services/T0/B0/hunter2x",
        "echo '{\"password\": \"hunter2x\"}'",
        "echo '{\"a\":1,\"password\":\"hunter2x\"}'",
        "echo \"password hunter2x\"",
        "pwd=hunter2x",
        "PASS=\"xx hunter2x\"",
        "PASS=xx\\ hunter2x",
        "TOKEN=$(echo hunter2x)",
        "python -c \"login(pw='hunter2x')\"",
        "--pass hunter2x",
        "a;PASSWORD=hunter2x",
        "-----BEGIN OPENSSH PRIVATE KEY----- hunter2x",
    ] {
        // A secret that looks like a word is found by where it stands.
        for secret in ["hunter2x", "swordfish"] {
            let script = script.replace("hunter2x", secret);
            let named = !script.starts_with("https://hooks");
            for shown in [line(&["sh", "-c", &script]), line(&[&script])] {
                assert!(!shown.contains(secret) || (!named && secret == "swordfish"), "{shown}");
            }
        }
    }
}

/// Where a secret may stand.
const PLACES: [&str; 18] = [
    "run SECRET",
    "run --token SECRET",
    "run --token=SECRET",
    "run --name SECRET",
    "run -p SECRET",
    "run -pSECRET",
    "NAME=SECRET run",
    "NAME='a SECRET b' run",
    "curl https://me:SECRET@h/x",
    "curl https://SECRET@h/x",
    "curl https://h/SECRET",
    "curl https://h/x?k=SECRET",
    "curl --header 'X: SECRET' h",
    "python -c 'f(\"SECRET\")'",
    "echo {\"k\":\"SECRET\"} | run",
    "cat /home/SECRET/x",
    "a && b --x SECRET; c",
    "SECRET",
];

proptest! {
    #[test]
    fn a10_a_random_secret_never_shows(
        secret in "[A-Za-z0-9+/_-]{4}[A-Za-z0-9]{3}[0-9][A-Za-z][0-9][A-Za-z0-9_-]{8,30}|[0-9a-f]{5}[0-9][a-f][0-9]{4}[0-9a-f]{12,40}",
        place in proptest::sample::select(PLACES.to_vec()),
        split in any::<bool>(),
    ) {
        let script = place.replace("SECRET", &secret);
        let words: Vec<&str> = if split { script.split(' ').collect() } else { vec!["sh", "-c", &script] };
        let shown = line(&words);
        prop_assert!(!shown.contains(&secret), "{shown}");
        for config in [
            json!({"slurm": {"sbatch_args": words}}),
            json!({"pbs": {"pbsbatch_args": [script]}}),
            json!({"entrypoint": script, "hyperparameters": {"x": {"y": script}}}),
            json!({"environment": {"environment_variables": [format!("A={secret}")], "pod_spec": {"z": script}}}),
        ] {
            let shown = others(config.clone()).to_string();
            prop_assert!(!shown.contains(&secret), "{shown}");
            prop_assert!(Layer::new(config).has_secrets());
        }
    }

    /// A word for a word is a secret where credentials stand.
    #[test]
    fn a10_a_word_that_is_a_secret_does_not_show_where_credentials_stand(
        secret in "[b-df-hj-np-tv-z][aeiou][b-df-hj-np-tv-z][aeiou][a-z]{4,10}",
        place in proptest::sample::select(vec![
            "run --token SECRET", "run --token=SECRET", "run -p SECRET", "run -pSECRET", "NAME=SECRET run",
            "NAME='a SECRET b' run", "curl https://me:SECRET@h/x", "curl https://SECRET@h/x",
            "curl https://h/x?k=SECRET", "curl --header 'X: SECRET' h", "echo {\"key\":\"SECRET\"}",
        ]),
    ) {
        let shown = line(&["sh", "-c", &place.replace("SECRET", &secret)]);
        prop_assert!(!shown.contains(&secret), "{shown}");
    }
}

#[test]
fn a10_keys_and_numbers_of_free_maps_are_as_free_as_their_texts() {
    let config = json!({
        "pbs": {"s3://AKIA:hunter4@b": 1, "n": 12_345_678, "nested": [{"DB=hunter4": [1.5, true]}]},
        "slurm": {"slots_per_node": 4, "gpu_type": "tesla", "aB3xQ9zz81kLm": "x"},
        "environment": {"pod_spec": {"spec": {"hunter4x81": {"port": 5_432_198}}}},
        "hyperparameters": {"lr": 0.1},
        "resources": {"slots": 4, "weight": 1.5, "priority": 42},
        "labels": ["a"],
        "max_restarts": 5,
        "debug": true,
    });
    let expected = json!({
        "pbs": {"s3://********@b": "********", "n": "********", "nested": [{"DB=********": ["********", true]}]},
        "slurm": {"slots_per_node": "********", "gpu_type": "tesla", "********": "x"},
        "environment": {"pod_spec": {"spec": {"********": {"port": "********"}}}},
        "hyperparameters": {"lr": "********"},
        "resources": {"slots": 4, "weight": 1.5, "priority": 42},
        "labels": ["a"],
        "max_restarts": 5,
        "debug": true,
    });
    assert_eq!(others(config.clone()), expected);
    assert_eq!(Shown::of(config, None).into_value()["pbs"]["n"], 12_345_678, "its owner sees it");
    assert!(Layer::new(json!({"pbs": {"s3://AKIA:hunter4@b": 1}})).has_secrets());
    assert!(!Layer::new(json!({"slurm": {"runAsUser": 4}})).has_secrets());
    assert_eq!(masked_key(&json!({"pbs": {"********": 1}})).as_deref(), Some("pbs"));
}

#[test]
fn a10_a_template_without_secrets_is_everybodys() {
    for (config, secret) in [
        (json!({"resources": {"slots": 4}, "environment": {"image": "lab/env:0a1b2c3d4e5f6a7b"}}), false),
        (
            json!({"slurm": {"sbatch_args": ["--partition=gpu", "--time=1:00:00", "--mem=64G", "-n", "4"]}}),
            false,
        ),
        (json!({"entrypoint": ["python3", "train.py", "--lr=0.1"]}), false),
        (json!({"entrypoint": "curl -u alice:hunter2x http://h"}), true),
        (json!({"slurm": {"sbatch_args": ["--export=DB=hunter2x"]}}), true),
        (json!({"environment": {"environment_variables": ["A=1"]}}), true),
    ] {
        assert_eq!(Layer::new(config.clone()).has_secrets(), secret, "{config}");
    }
}

#[test]
fn a10_what_is_masked_is_found_when_it_comes_back() {
    for (value, key) in [
        (json!({"a": {"b": ["x", "********"]}}), Some("a.b")),
        (json!({"v": ["N=1", "KEY=********"]}), Some("v: KEY")),
        (json!({"entrypoint": ["run --token=********"]}), Some("entrypoint: --token")),
        (json!({"a": "stars: *****", "n": 1}), None),
    ] {
        assert_eq!(masked_key(&value).as_deref(), key);
    }
}

/// What experiments have in templates is as much its owner's as the rest.
#[test]
fn a10_b21_a_piece_of_an_experiment_keeps_its_secrets() {
    let piece = json!({
        "name": "mnist",
        "searcher": {"name": "adaptive_asha", "metric": "loss", "max_trials": 16},
        "hyperparameters": {"lr": 0.1, "api_key": "canary-1"},
        "checkpoint_storage": {
            "type": "s3",
            "bucket": "lab",
            "access_key": "canary-2",
            "secret_key": "canary-3",
            "connection_string": "canary-4",
            "credential": "canary-5",
            "endpoint_url": "https://u:canary-6@s3.lab",
        },
        "data": {"url": "https://h/x?sig=canary-7", "token": "canary-8"},
        "integrations": {"pachyderm": {"pachd": {"host": "h", "token": "canary-9"}}},
        "startup_hook": "export AWS_SECRET=canary-a\ncurl -u alice:canary-b http://h",
    });
    crate::config::layer::check_template(&piece).expect("a piece");
    let shown = others(piece.clone());
    assert!(!shown.to_string().contains("canary"), "{shown}");
    assert_eq!((&shown["name"], &shown["checkpoint_storage"]["bucket"]), (&json!("mnist"), &json!("lab")));
    for (key, secret) in [
        ("checkpoint_storage", json!({"secret_key": "x"})),
        ("checkpoint_storage", json!({"connection_string": "x"})),
        ("startup_hook", json!("export TOKEN=0123456789abcdef")),
    ] {
        assert!(Layer::new(json!({ key: secret })).has_secrets(), "{key}");
    }
    let plain = json!({"checkpoint_storage": {"type": "shared_fs", "host_path": "/data"}, "max_restarts": 3});
    assert!(!Layer::new(plain).has_secrets());
}
