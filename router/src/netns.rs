//! Network namespaces (network_namespaces(7), ip-netns(8)).
//!
//! A namespace belongs to a thread. What must be opened in another one is opened by a thread of its own, which enters the namespace,
//! opens, and ends; the descriptor goes on working from everywhere.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns};

/// Where ip-netns(8) keeps its namespaces.
const NAMED: &str = "/run/netns";

/// The file that is the namespace `name`: one of ip-netns(8), or any path with a slash in it, as /proc/PID/ns/net.
pub fn path(name: &str) -> PathBuf {
    if name.contains('/') {
        PathBuf::from(name)
    } else {
        Path::new(NAMED).join(name)
    }
}

/// Runs `work` in the network namespace `name`, or right here if there is none.
///
/// # Errors
/// Those of `work`, and a namespace that does not exist or cannot be entered.
pub fn within<T: Send>(name: Option<&str>, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let Some(name) = name else { return work() };
    let path = path(name);
    let namespace = File::open(&path).with_context(|| format!("there is no network namespace {}", path.display()))?;
    let entered = move || {
        setns(&namespace, CloneFlags::CLONE_NEWNET)
            .with_context(|| format!("the network namespace {} cannot be entered", path.display()))?;
        work()
    };
    thread::scope(|scope| scope.spawn(entered).join())
        .unwrap_or_else(|_| Err(anyhow!("the thread in network namespace {name} panicked")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_of_iproute_and_a_path_is_itself() {
        assert_eq!(path("client"), Path::new("/run/netns/client"));
        assert_eq!(path("/proc/1/ns/net"), Path::new("/proc/1/ns/net"));
    }

    #[test]
    fn a_namespace_that_is_not_there_is_an_error() {
        let error = within(Some("no-such-namespace"), || Ok(())).unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no network namespace /run/netns/no-such-namespace"
        );
    }
}
