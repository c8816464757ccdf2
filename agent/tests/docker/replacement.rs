//! Replacing containers: the old one keeps or regains its place, whatever happens in between.

use std::time::{Duration, Instant};

use ops_agent::Error;
use ops_agent::resource::Resource;
use ops_agent::resource::container::{Container, Health, Standing};

use crate::{Lab, converge, image, inspect, sh};

fn id(name: &str) -> String {
    inspect(name, "{{.Id}}")
}

#[tokio::test]
async fn made_once_and_locked_down() {
    let lab = Lab::new("made");
    let spec = lab.good("a");
    assert!(converge(&lab, &spec).await.unwrap());
    let first = id(&spec.name);
    assert!(!converge(&lab, &spec).await.unwrap(), "a second look finds a difference");
    assert_eq!(id(&spec.name), first);
    let template = "{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.HostConfig.SecurityOpt}} \
                    {{.Config.User}} {{.HostConfig.Memory}} {{.HostConfig.MemorySwap}} \
                    {{.HostConfig.RestartPolicy.Name}} {{.Config.StopTimeout}} {{.HostConfig.Privileged}}";
    let expected = "true [ALL] [no-new-privileges] 10001:10001 67108864 67108864 on-failure 10 false";
    assert_eq!(inspect(&spec.name, template), expected);
    let facts = format!("docker exec {} sh -c 'id; cat /proc/1/status; touch /x 2>&1; true'", spec.name);
    let facts = sh(&facts);
    assert!(facts.contains("uid=10001 gid=10001"), "{facts}");
    assert!(facts.contains("CapEff:\t0000000000000000"), "{facts}");
    assert!(facts.contains("NoNewPrivs:\t1"), "{facts}");
    assert!(facts.contains("Read-only file system"), "{facts}");

    sh(&format!("docker stop {}", spec.name));
    assert_eq!(spec.observe(&lab.host).await.unwrap().container.unwrap().health, Health::Stopped);
    assert!(converge(&lab, &spec).await.unwrap());
    assert_eq!(id(&spec.name), first, "one that was only stopped is started, not replaced");
}

#[tokio::test]
async fn an_unhealthy_version_gives_its_place_back() {
    let lab = Lab::new("unhealthy");
    let good = lab.good("a");
    converge(&lab, &good).await.unwrap();
    let first = id(&good.name);

    let mut bad = lab.container("a", "echo one; echo the reason it does not work; sleep 1000");
    bad.healthy_within_seconds = 7;
    bad.stop_seconds = 1;
    let error = converge(&lab, &bad).await.unwrap_err();
    assert!(matches!(error, Error::Unhealthy { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("starting after 7 s"), "{text}");
    assert!(text.contains("one | the reason it does not work"), "{text}");
    assert!(text.contains("back in its place"), "{text}");
    assert_eq!(id(&good.name), first);
    assert_eq!(inspect(&good.name, "{{.State.Running}}"), "true");
    assert_eq!(id(&format!("{}.previous", good.name)), "");

    // One that ends by itself is known sooner than the limit says.
    let ends = lab.container("a", "echo cannot open the project >&2; exit 0");
    let began = Instant::now();
    let text = converge(&lab, &ends).await.unwrap_err().to_string();
    assert!(text.contains("ended with exit code 0") && text.contains("cannot open the project"), "{text}");
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    assert_eq!(id(&good.name), first);

    // So is one that the daemon refuses to make or to start.
    let mut missing = lab.good("a");
    missing.mounts = vec![ops_agent::resource::container::Mount {
        source: "/nonexistent/project".into(),
        target: "/project".into(),
        read_only: true,
    }];
    let error = converge(&lab, &missing).await.unwrap_err();
    assert!(!error.is_transient(), "each attempt is a pause of the good one");
    let text = error.to_string();
    assert!(text.contains("/nonexistent/project") && text.contains("back in its place"), "{text}");
    assert_eq!(id(&good.name), first);
    let mut gone = lab.good("a");
    gone.image = "opsagent-test-gone:1".into();
    let text = converge(&lab, &gone).await.unwrap_err().to_string();
    assert!(text.contains("No such image"), "{text}");
    assert_eq!((id(&good.name), inspect(&good.name, "{{.State.Running}}")), (first, "true".into()));
    assert!(
        !good.diff(&good.observe(&lab.host).await.unwrap()).0.iter().any(|c| c.what.contains("interrupted"))
    );
}

#[tokio::test]
async fn the_old_one_is_never_ended_sooner_than_it_asks() {
    let lab = Lab::new("drain");
    let work = lab.mount("work", "/work");
    let mut old = lab.container(
        "a",
        "trap 'sleep 4; echo whole > /work/done; exit 0' TERM; touch /tmp/ok; while :; do sleep 0.1; done",
    );
    old.mounts = vec![work];
    old.stop_seconds = 30;
    converge(&lab, &old).await.unwrap();
    // The new one would be stopped within a second; the old one is given its own limit.
    let mut new = lab.good("a");
    new.stop_seconds = 1;
    converge(&lab, &new).await.unwrap();
    assert_eq!(std::fs::read_to_string(lab.root.path().join("work/done")).unwrap(), "whole\n");
    assert!(lab.said().iter().any(|text| text.contains("to stop, 2 of at most 30 s")), "{:?}", lab.said());
}

/// Whatever is there under the two names, one more run leads to the wanted container alone.
async fn finishes(lab: &Lab, spec: &Container) -> String {
    let what = converge(lab, spec).await;
    assert!(what.as_ref().is_ok_and(|changed| *changed), "{what:?}");
    assert_eq!(inspect(&format!("{}.previous", spec.name), "{{.Id}}"), "", "the old one is still there");
    assert_eq!(inspect(&spec.name, "{{.State.Health.Status}}"), "healthy");
    assert!(!converge(lab, spec).await.unwrap(), "and the next changes nothing");
    id(&spec.name)
}

#[tokio::test]
async fn a_run_that_was_killed_between_two_steps_is_finished_by_the_next() {
    let lab = Lab::new("killed");
    let old = lab.good("a");
    let mut new = lab.good("a");
    new.env = vec![("GREETING".into(), "new".into())];
    converge(&lab, &old).await.unwrap();
    let previous = format!("{}.previous", old.name);

    // Renamed, nothing else.
    sh(&format!("docker rename {} {previous}", old.name));
    assert_eq!(inspect(&previous, "{{.State.Running}}"), "true");
    finishes(&lab, &new).await;

    // Renamed and stopped.
    sh(&format!("docker rename {} {previous} && docker stop {previous}", old.name));
    finishes(&lab, &old).await;

    // Both there: an attempt at something that is no longer wanted.
    sh(&format!("docker rename {} {previous} && docker stop {previous}", old.name));
    let attempt = format!("docker run -d --name {} {} sleep 1000", old.name, image());
    sh(&attempt);
    finishes(&lab, &new).await;

    // Both there, and the settings were put back: the old one itself returns.
    let before = id(&new.name);
    sh(&format!("docker rename {} {previous} && docker stop {previous}", old.name));
    sh(&attempt);
    assert_eq!(finishes(&lab, &new).await, before);
}

#[tokio::test]
async fn a_run_that_is_dropped_anywhere_is_finished_by_the_next() {
    let lab = Lab::new("dropped");
    let mut spec = lab.good("a");
    converge(&lab, &spec).await.unwrap();
    for (round, millis) in [20, 120, 300, 700, 1500, 4000, 5400].into_iter().enumerate() {
        spec.env = vec![("ROUND".into(), round.to_string())];
        let limit = Duration::from_millis(millis);
        if tokio::time::timeout(limit, converge(&lab, &spec)).await.is_ok() {
            continue;
        }
        finishes(&lab, &spec).await;
        let env = sh(&format!("docker exec {} env", spec.name));
        assert!(env.contains(&format!("ROUND={round}")), "{env}");
    }
}

#[tokio::test]
async fn a_first_version_that_is_not_healthy_stays_to_be_looked_at() {
    let lab = Lab::new("first");
    let mut bad = lab.container("a", "trap 'exit 0' TERM; while :; do sleep 0.1; done");
    bad.healthy_within_seconds = 3;
    let text = converge(&lab, &bad).await.unwrap_err().to_string();
    assert!(text.contains("starting after 3 s"), "{text}");
    assert_eq!(inspect(&bad.name, "{{.State.Running}}"), "true");
}

#[tokio::test]
async fn last_words_that_quote_a_secret_tell_none() {
    let lab = Lab::new("words");
    lab.secret("WAREHOUSE_PASSWORD", "canary-of-the-ui");
    let bad = lab.container("a", "echo cannot log in with canary-of-the-ui; exit 1");
    let text = converge(&lab, &bad).await.unwrap_err().to_string();
    assert!(text.contains("cannot log in with (secret)") && !text.contains("canary"), "{text}");
}

#[tokio::test]
async fn a_dependency_that_is_not_known_just_now_replaces_nothing() {
    let lab = Lab::new("unknown");
    let secrets =
        |digest: &str| Container { depends: vec![("secrets".into(), digest.into())], ..lab.good("a") };
    converge(&lab, &secrets("aaaa")).await.unwrap();
    let first = id(&lab.good("a").name);
    assert!(!converge(&lab, &secrets("")).await.unwrap());
    // Nor where something else is to be done.
    sh(&format!("docker stop {}", lab.good("a").name));
    converge(&lab, &secrets("")).await.unwrap();
    assert_eq!(id(&lab.good("a").name), first);
    assert!(!converge(&lab, &secrets("aaaa")).await.unwrap(), "it forgot what it was made with");
    converge(&lab, &secrets("bbbb")).await.unwrap();
    assert_ne!(id(&lab.good("a").name), first);
}

#[tokio::test]
async fn what_ran_before_runs_again_whatever_is_wanted_now() {
    let lab = Lab::new("standing");
    let old = lab.good("a");
    let standing = Standing { name: old.name.clone(), not_beside: None };
    assert!(!converge(&lab, &standing).await.unwrap(), "there is none yet");
    converge(&lab, &old).await.unwrap();
    let first = id(&old.name);
    assert!(!converge(&lab, &standing).await.unwrap());
    sh(&format!("docker stop {}", old.name));
    assert!(converge(&lab, &standing).await.unwrap());
    assert_eq!((id(&old.name), inspect(&old.name, "{{.State.Running}}")), (first, "true".into()));
    // One that cannot be started is left to the resource that replaces it.
    sh(&format!("docker rm -f {0} && docker run -d --name {0} {1} /nonexistent || true", old.name, image()));
    assert!(converge(&lab, &standing).await.is_ok());
    converge(&lab, &old).await.unwrap();
}

#[tokio::test]
async fn a_scheduler_is_not_started_beside_a_plan_that_was_left_going() {
    let lab = Lab::new("beside");
    let (scheduler, plan) = (lab.good("scheduler"), lab.good("plan"));
    converge(&lab, &scheduler).await.unwrap();
    converge(&lab, &plan).await.unwrap();
    sh(&format!("docker stop {}", scheduler.name));
    let standing = Standing { name: scheduler.name.clone(), not_beside: Some(plan.name.clone()) };
    assert!(!converge(&lab, &standing).await.unwrap(), "both would work on one state");
    sh(&format!("docker stop {}", plan.name));
    assert!(converge(&lab, &standing).await.unwrap());
    assert_eq!(inspect(&scheduler.name, "{{.State.Running}}"), "true");
}
