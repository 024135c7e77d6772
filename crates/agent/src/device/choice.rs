//! Which of the machine's GPUs this agent offers: `agent.devices`, or else `CUDA_VISIBLE_DEVICES` of the agent's own
//! environment, as with any other program (B19). So two agents can share a machine.

use super::nvidia::Gpu;

/// The agent's own way to choose.
const SETTING: &str = "agent.devices";

/// Which GPUs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Choice {
    /// All that there are.
    All,
    /// These: numbers as `nvidia-smi` counts, or serial numbers, or beginnings of them. Empty for none.
    These { names: Vec<String>, told_by: &'static str },
}

impl Choice {
    /// What the setting says, or else the variable.
    pub(crate) fn new(setting: Option<&[String]>, variable: Option<&str>) -> Self {
        match (setting, variable) {
            (Some(names), _) => {
                Self::These { names: clean(names.iter().map(String::as_str)), told_by: SETTING }
            }
            (None, Some(text)) => {
                // Documented ways to say none.
                let none = matches!(text.trim(), "-1" | "NoDevFiles" | "none" | "void");
                let names = if none { vec![] } else { clean(text.split(',')) };
                if text.trim() == "all" {
                    Self::All
                } else {
                    Self::These { names, told_by: "CUDA_VISIBLE_DEVICES" }
                }
            }
            (None, None) => Self::All,
        }
    }

    /// Whether it is to offer no GPU.
    pub(super) fn is_none(&self) -> bool {
        matches!(self, Self::These { names, .. } if names.is_empty())
    }

    /// Whether it is the agent's own setting. The variable may stand in the environment of a machine without GPUs.
    pub(super) fn is_setting(&self) -> bool {
        matches!(self, Self::These { told_by: SETTING, .. })
    }

    /// Picks them, and says what isn't there.
    pub(super) fn pick(&self, all: Vec<Gpu>) -> (Vec<Gpu>, Vec<String>) {
        let Self::These { names, told_by } = self else {
            return (all, vec![]);
        };
        let mut troubles = vec![];
        let mut wanted = vec![];
        for name in names {
            match all.iter().filter(|gpu| gpu.is_called(name)).collect::<Vec<_>>()[..] {
                [gpu] => wanted.push(gpu.index),
                [] => troubles.push(format!("{told_by} names {name:?}, which is no working GPU here")),
                _ => {
                    troubles.push(format!("{told_by} names {name:?}, which is the beginning of several GPUs"))
                }
            }
        }
        (all.into_iter().filter(|gpu| wanted.contains(&gpu.index)).collect(), troubles)
    }
}

fn clean<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    names.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpus() -> Vec<Gpu> {
        let gpu = |index, uuid: &str| Gpu { index, uuid: uuid.into(), brand: "X".into(), minor: Some(index) };
        vec![gpu(0, "GPU-aa01"), gpu(1, "GPU-ab02"), gpu(2, "GPU-cc03")]
    }

    #[test]
    fn b19_a_setting_or_the_variable_chooses() {
        let picked = |choice: Choice| {
            let (gpus, troubles) = choice.pick(gpus());
            (gpus.iter().map(|gpu| gpu.index).collect::<Vec<_>>(), troubles.len())
        };
        let variable = |text| Choice::new(None, Some(text));
        assert_eq!(picked(Choice::new(None, None)), (vec![0, 1, 2], 0));
        assert_eq!(picked(variable("2,0")), (vec![0, 2], 0));
        assert_eq!(picked(variable(" GPU-ab , 2")), (vec![1, 2], 0));
        assert_eq!(picked(variable("7,1,GPU-a,1")), (vec![1], 2));
        assert_eq!(picked(variable("all")), (vec![0, 1, 2], 0));
        let setting = ["1".to_owned()];
        assert_eq!(picked(Choice::new(Some(&setting), Some("0"))), (vec![1], 0));
        for none in ["", "-1", "none", " , "] {
            assert!(variable(none).is_none(), "{none:?}");
        }
        assert!(Choice::new(Some(&[]), Some("0")).is_none());
    }
}
