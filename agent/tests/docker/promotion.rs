//! Promotions: the scheduler is drained before, prod's record is written after, and a failure leaves
//! everything as it was.

use std::time::Duration;

use ops_agent::Error;
use ops_agent::resource::Resource;
use ops_agent::resource::container::Container;
use ops_agent::resource::promotion::Promotion;

use crate::{Lab, converge, inspect, sh};

/// A scheduler whose run takes 3 s to end, and says so in a file.
fn scheduler(lab: &Lab) -> Container {
    let mut scheduler = lab.container(
        "scheduler",
        "trap 'sleep 3; echo whole >> /work/runs; exit 0' TERM; touch /tmp/ok; while :; do sleep 0.1; done",
    );
    scheduler.mounts = vec![lab.mount("work", "/work")];
    scheduler.stop_seconds = 30;
    scheduler
}

fn promotion(lab: &Lab, version: &str, script: &str) -> Promotion {
    let mut plan = lab.container("plan", script);
    plan.health = None;
    plan.mounts = vec![lab.mount("work", "/work")];
    plan.stop_seconds = 1;
    Promotion {
        version: version.into(),
        plan,
        scheduler: format!("{}-scheduler", lab.prefix),
        drain_seconds: 60,
    }
}

fn running(name: &str) -> bool {
    inspect(name, "{{.State.Running}}") == "true"
}

#[tokio::test]
async fn promoted_once_with_the_scheduler_drained() {
    let lab = Lab::new("promoted");
    let scheduler = scheduler(&lab);
    converge(&lab, &scheduler).await.unwrap();
    // The plan sees that the run has ended.
    let it =
        promotion(&lab, "v1", "cat /work/runs > /work/seen; echo planning models; echo x >> /work/plans");
    assert!(converge(&lab, &it).await.unwrap());
    let read =
        |file: &str| std::fs::read_to_string(lab.root.path().join("work").join(file)).unwrap_or_default();
    assert_eq!(read("seen"), "whole\n", "the plan began before the run had ended");
    assert_eq!(inspect(&it.plan.name, "{{.Id}}"), "", "the throw-away container is still there");
    assert!(!running(&scheduler.name));
    assert!(lab.said().iter().any(|text| text == "planning models"), "{:?}", lab.said());

    assert!(!converge(&lab, &it).await.unwrap());
    assert_eq!(read("plans"), "x\n");
    let next = promotion(&lab, "v2", "true");
    let diff = next.diff(&next.observe(&lab.host).await.unwrap());
    assert_eq!(diff.summary(), "promoted version v1 → v2");
}

#[tokio::test]
async fn a_failed_plan_leaves_the_scheduler_running_and_nothing_promoted() {
    let lab = Lab::new("failed");
    let scheduler = scheduler(&lab);
    converge(&lab, &scheduler).await.unwrap();
    let id = inspect(&scheduler.name, "{{.Id}}");
    let script = "echo Traceback; printf '\\033[31mError: Failed to load model x\\033[0m\\n'; exit 1";
    let it = promotion(&lab, "v1", script);
    let error = converge(&lab, &it).await.unwrap_err();
    assert!(matches!(error, Error::CommandFailed { .. }) && !error.is_transient(), "{error}");
    let text = error.to_string();
    assert!(text.ends_with("failed (ended with exit code 1): Failed to load model x"), "{text}");
    assert!(running(&scheduler.name));
    assert_eq!(inspect(&scheduler.name, "{{.Id}}"), id);
    assert_eq!(inspect(&it.plan.name, "{{.Id}}"), "");
    assert_eq!(it.observe(&lab.host).await.unwrap(), None);

    // Nor does one that the daemon cannot make drain anything.
    let mut missing = promotion(&lab, "v1", "true");
    missing.plan.image = "opsagent-test-gone:1".into();
    let began = inspect(&scheduler.name, "{{.State.StartedAt}}");
    converge(&lab, &missing).await.unwrap_err();
    assert_eq!(inspect(&scheduler.name, "{{.State.StartedAt}}"), began);
}

#[tokio::test]
async fn a_plan_that_quotes_a_secret_tells_none() {
    let lab = Lab::new("quoting");
    lab.secret("STATE_DB_PASSWORD", "canary-of-the-plan");
    let script = "echo using canary-of-the-plan; echo 'Error: password canary-of-the-plan is wrong'; exit 1";
    let text = converge(&lab, &promotion(&lab, "v1", script)).await.unwrap_err().to_string();
    assert!(text.ends_with("password (secret) is wrong"), "{text}");
    assert!(lab.said().iter().any(|line| line == "using (secret)"), "{:?}", lab.said());
    assert!(!lab.said().concat().contains("canary"), "{:?}", lab.said());
}

#[tokio::test]
async fn more_memory_than_allowed_is_told_as_that() {
    let lab = Lab::new("memory");
    let it = promotion(&lab, "v1", "x=a; while :; do x=$x$x; done");
    let text = converge(&lab, &it).await.unwrap_err().to_string();
    assert!(text.contains("limit of 64 MiB") || text.contains("exit code"), "{text}");
}

#[tokio::test]
async fn a_plan_whose_run_was_killed_is_taken_over() {
    let lab = Lab::new("takeover");
    let script = "echo x >> /work/plans; sleep 4; echo done; exit 0";
    let it = promotion(&lab, "v1", script);
    // Killed while it runs.
    let dropped = tokio::time::timeout(Duration::from_millis(2500), converge(&lab, &it)).await;
    assert!(dropped.is_err());
    assert!(running(&it.plan.name));
    assert!(converge(&lab, &it).await.unwrap());
    assert_eq!(std::fs::read_to_string(lab.root.path().join("work/plans")).unwrap(), "x\n", "it ran twice");

    // Killed after it ended well, before that was written down.
    std::fs::remove_file(lab.root.path().join("var/lib/ops-agent/sqlmesh/promoted.json")).unwrap();
    let dropped = tokio::time::timeout(Duration::from_millis(2500), converge(&lab, &it)).await;
    assert!(dropped.is_err());
    sh(&format!("docker wait {}", it.plan.name));
    assert!(converge(&lab, &it).await.unwrap());
    assert_eq!(
        std::fs::read_to_string(lab.root.path().join("work/plans")).unwrap(),
        "x\nx\n",
        "it ran again"
    );

    // One of another version is not.
    let mut other = promotion(&lab, "v2", "echo y >> /work/plans");
    other.plan.stop_seconds = 1;
    let again = promotion(&lab, "v3", "sleep 1000");
    let dropped = tokio::time::timeout(Duration::from_millis(1500), converge(&lab, &again)).await;
    assert!(dropped.is_err());
    assert!(converge(&lab, &other).await.unwrap());
    assert_eq!(std::fs::read_to_string(lab.root.path().join("work/plans")).unwrap(), "x\nx\ny\n");
}
