//! The manifests of `deploy/kubernetes`: Kubernetes' own schemas find them good, and the programs are started, asked, stopped and
//! replaced as the manifests say. There is no cluster: pods are hosts of the laboratory, and [`Cluster`] plays what kubelet,
//! kube-proxy and the controller of the StatefulSet would do, by their rules.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use fanlight_tests::document::{Document, put_programs, shell};
use fanlight_tests::http::Site;
use fanlight_tests::lab::{Host, Lab};
use fanlight_tests::program::Program;
use fanlight_tests::python::{python, script};
use fanlight_tests::wait::{SOON, pause, until};
use fanlight_tests::{TestEnv, skip};
use serde_json::Value;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy");

/// An older and a newer Kubernetes.
const VERSIONS: [&str; 2] = ["1.27", "1.37"];

/// Does what needs no cluster, and keeps what a cluster would be given.
const KUBECTL: &str = r#"#!/bin/sh
case " $* " in
  *" create "*) { REAL "$@" --dry-run=client --output=yaml && echo ---; } >>created.yaml ;;
  *" apply -k "*) exec REAL kustomize "$3" >applied.yaml ;;
  *" rollout restart "*) echo "$@" >>rollouts ;;
  *) exit 1 ;;
esac
"#;

/// The real kubectl; none, said aloud, where it is not.
fn kubectl() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut found = std::env::split_paths(&path).map(|folder| folder.join("kubectl"));
    let found = found.find(|file| file.is_file());
    if found.is_none() {
        skip("kubectl is not installed");
    }

    found
}

/// Manifests as JSON, once they are found good.
fn checked(python: &Path, manifests: &str) -> Vec<Value> {
    let mut check = Command::new(python)
        .arg(script("kubernetes.py"))
        .args(VERSIONS)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = check.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, manifests.as_bytes()).unwrap();
    drop(input);
    let checked = check.wait_with_output().unwrap();
    assert!(checked.status.success(), "the reason stands above");
    serde_json::from_slice(&checked.stdout).unwrap()
}

#[test]
fn every_manifest_is_good_and_what_it_names_is_there() {
    let (Some(kubectl), Some(python)) = (kubectl(), python()) else {
        return;
    };

    let env = TestEnv::new();
    for folder in ["base", "camera", "tree"] {
        let rendered = Command::new(&kubectl)
            .arg("kustomize")
            .arg(Path::new(FOLDER).join("kubernetes").join(folder))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&rendered.stderr);
        assert!(said.is_empty(), "{said}");
        let objects = checked(&python, &String::from_utf8(rendered.stdout).unwrap());
        assert!(
            objects
                .iter()
                .all(|it| it["metadata"]["namespace"] == "fanlight")
        );

        let config = env.path(&format!("{folder}.toml"));
        fs::write(
            &config,
            object(&objects, "ConfigMap", "")["data"]["fanlight.toml"]
                .as_str()
                .unwrap(),
        )
        .unwrap();
        let words = format!("check-config {}", config.display());
        let good = env
            .program("relay")
            .env("CREDENTIALS_DIRECTORY", env.directory());
        for key in ["feed", "viewers"] {
            fs::write(env.path(key), "").unwrap();
        }

        good.flags(&words).ends_with(0);
    }
}

/// The first object of a kind whose name begins so.
fn object<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let named = |it: &&Value| {
        let own = it["metadata"]["name"].as_str().unwrap_or_default();
        it["kind"] == kind && own.starts_with(name)
    };
    objects.iter().find(named).unwrap()
}

/// A container that runs, at an address of its own.
struct Pod {
    host: Host,
    program: Program,
}

impl Pod {
    /// Deletes it, as kubelet does: asks it to stop, and kills it when the grace period is over.
    fn delete(self, grace: Duration) {
        let (_, took) = self.program.stop();
        assert!(took < grace, "kubelet would have killed it: {took:?}");
    }
}

/// What runs, and the manifests by which it does.
struct Cluster<'a> {
    env: &'a TestEnv,
    lab: &'a Lab,
    objects: Vec<Value>,
    config: PathBuf,
    node: Host,
    source: Pod,
    relays: Vec<Pod>,
}

impl<'a> Cluster<'a> {
    fn start(env: &'a TestEnv, lab: &'a Lab, objects: Vec<Value>) -> Self {
        let secret = object(&objects, "Secret", "fanlight-keys");
        for (name, data) in secret["data"].as_object().unwrap() {
            let bytes = BASE64_STANDARD.decode(data.as_str().unwrap()).unwrap();
            fs::write(env.path(&format!("secret-{name}")), bytes).unwrap();
        }

        let keys = env.path("keys");
        fs::create_dir(&keys).unwrap();
        for name in ["feed", "viewers"] {
            fs::rename(env.path(&format!("secret-{name}")), keys.join(name)).unwrap();
            run(Command::new("chmod").arg("0440").arg(keys.join(name)));
        }

        let source_host = lab.host("source");
        let config = env.path("cluster.toml");
        let text = object(&objects, "ConfigMap", "")["data"]["fanlight.toml"].as_str();
        // The cluster's DNS.
        let service = format!("{}:", source_host.address());
        fs::write(&config, text.unwrap().replace("fanlight-source:", &service)).unwrap();

        let source = env
            .program("source")
            .flag("config", &config)
            .env("CREDENTIALS_DIRECTORY", &keys)
            .under(&source_host.enter())
            .ready();
        let node = lab.host("node");
        node.run("sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.eth0.send_redirects=0");
        node.run("nft add table ip proxy");
        node.run("nft add chain ip proxy services { type nat hook prerouting priority dstnat ; }");
        node.run("nft add chain ip proxy post { type nat hook postrouting priority srcnat ; }");
        node.run("nft add rule ip proxy post oifname eth0 masquerade fully-random");

        let mut cluster = Self {
            env,
            lab,
            objects,
            config,
            node,
            source: Pod {
                host: source_host,
                program: source,
            },
            relays: Vec::new(),
        };
        for number in 0..cluster.relay_spec()["replicas"].as_u64().unwrap() {
            let pod = cluster.relay_pod(&format!("relay-{number}"));
            cluster.relays.push(pod);
        }

        (0..cluster.relays.len()).for_each(|ordinal| cluster.wait_ready(ordinal));
        cluster.program_services();
        cluster
    }

    fn relay_spec(&self) -> &Value {
        &object(&self.objects, "StatefulSet", "fanlight-relay")["spec"]
    }

    fn relay_pod(&self, name: &str) -> Pod {
        let host = self.lab.host(name);
        let relay = self.env.program("relay").flag("config", &self.config);
        let relay = relay.env("CREDENTIALS_DIRECTORY", self.env.path("keys"));
        let program = relay.under(&host.enter()).start();
        Pod { host, program }
    }

    /// Waits until the readiness probe of a relay succeeds.
    fn wait_ready(&self, ordinal: usize) {
        let container = &self.relay_spec()["template"]["spec"]["containers"][0];
        let probe = &container["readinessProbe"];
        let ports = container["ports"].as_array().unwrap();
        let named = |port: &&Value| port["name"] == probe["httpGet"]["port"];
        let port = ports.iter().find(named).unwrap()["containerPort"]
            .as_u64()
            .unwrap();
        let pod = &self.relays[ordinal];
        let site = Site((pod.host.address(), u16::try_from(port).unwrap()).into());
        let path = probe["httpGet"]["path"].as_str().unwrap();
        until("the relay is ready", SOON, || {
            let answered = pod.host.within(|| {
                site.connect().ok()?;
                Some(site.get(path).status)
            });
            (answered == Some(200)).then_some(())
        });
    }

    /// What kube-proxy does when the pods of a service have changed: ports lead to those that are ready, and flows to others are
    /// forgotten.
    fn program_services(&self) {
        self.node.run("nft flush chain ip proxy services");
        for (ordinal, pod) in self.relays.iter().enumerate() {
            self.lead_to(ordinal, pod.host.address());
        }
    }

    fn lead_to(&self, ordinal: usize, pod: Ipv4Addr) {
        let name = format!("fanlight-relay-{ordinal}");
        let service = &object(&self.objects, "Service", &name)["spec"];
        assert_eq!(
            service["selector"]["statefulset.kubernetes.io/pod-name"],
            *name
        );
        let port = &service["ports"][0]["nodePort"];
        self.node.run(&format!(
            "nft add rule ip proxy services udp dport {port} dnat to {pod}:5004"
        ));
    }

    /// Replaces the relays as the controller of a StatefulSet does: the highest number first, and the next when its follower has been
    /// ready for a while.
    fn roll_out(&mut self) {
        let grace = &self.relay_spec()["template"]["spec"]["terminationGracePeriodSeconds"];
        let grace = Duration::from_secs(grace.as_u64().unwrap());
        let settled = Duration::from_secs(self.relay_spec()["minReadySeconds"].as_u64().unwrap());
        for ordinal in (0..self.relays.len()).rev() {
            self.relays.remove(ordinal).delete(grace);
            let follower = self.relay_pod(&format!("new-{ordinal}"));
            self.relays.insert(ordinal, follower);
            self.wait_ready(ordinal);
            self.program_services();
            let port = &object(
                &self.objects,
                "Service",
                &format!("fanlight-relay-{ordinal}"),
            )["spec"]["ports"][0]["nodePort"];
            self.node
                .run(&format!("conntrack -D -p udp --orig-port-dst {port}"));
            pause(settled);
        }
    }
}

fn run(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}

#[test]
fn relays_that_are_replaced_one_after_the_other_cost_a_viewer_outside_no_frame() {
    let Some(lab) = Lab::open() else { return };
    let (Some(kubectl), Some(python)) = (kubectl(), python()) else {
        return;
    };

    let (env, desk, screen) = (TestEnv::new(), lab.host("desk"), lab.host("screen"));
    let programs = put_programs(&env);
    let wrapper = KUBECTL.replace("REAL", &kubectl.display().to_string());
    fs::write(programs.join("kubectl"), wrapper).unwrap();
    run(Command::new("chmod")
        .arg("+x")
        .arg(programs.join("kubectl")));
    std::os::unix::fs::symlink(FOLDER, env.path("deploy")).unwrap();

    let mut cluster = None;
    Document::read("kubernetes.md").run(|name, commands| {
        if name == "desk" {
            return shell(&env, &desk.enter(), &programs, commands);
        }

        let given = ["created.yaml", "applied.yaml"]
            .map(|file| fs::read_to_string(env.path(file)).unwrap());
        let objects = checked(&python, &given.join("\n---\n"));
        let cluster = cluster.insert(Cluster::start(&env, &lab, objects));
        let commands = commands.replace("192.168.1.20", &cluster.node.address().to_string());
        shell(&env, &screen.enter(), &programs, &commands)
    });

    let said = fs::read_to_string(env.path("rollouts")).unwrap();
    assert!(said.contains("statefulset/fanlight-relay"), "{said}");
    let mut cluster = cluster.unwrap();
    let ports = [30504, 30505].map(|port| format!("{}:{port}", cluster.node.address()));
    let viewing = env
        .viewer_at(&ports[0], "ball")
        .flag("relay", &ports[1])
        .flag("key-file", env.path("viewers"))
        .under(&screen.enter())
        .start();
    viewing.wait_shown(30);
    cluster.roll_out();
    viewing.wait_more(30);
    let (report, _) = viewing.finish();
    report.assert_balanced();
    for reason in ["away", "link", "incomplete"] {
        assert_eq!(report.frames.lost.by_reason[reason], 0, "{report:?}");
    }

    assert_eq!(report.joins, 4, "each relay, before and after: {report:?}");
    assert!(cluster.source.program.exits().is_empty());
}
