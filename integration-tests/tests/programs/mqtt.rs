//! The relay's MQTT side, with Debian's mosquitto: what Home Assistant and others read there.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use fanlight_tests::document::{Document, put_programs, shell};
use fanlight_tests::http::Site;
use fanlight_tests::program::Program;
use fanlight_tests::usage::MIB;
use fanlight_tests::wait::{SOON, until};
use fanlight_tests::{TestEnv, long, skip};
use serde_json::Value;

mod home_assistant;
mod home_assistant_itself;

/// Where the broker listens, on the environment's own address.
const PORT: u16 = 1883;

/// What a relay may hold more because its broker stands still: its socket and a picture.
const GROWTH: u64 = 16 * MIB;

/// Messages as a client of the broker sees them, retained ones first, with one line for each.
struct Reader {
    program: Program,
}

/// A broker with a configuration of its own.
struct Broker {
    program: Program,
    address: SocketAddr,
}

fn installed(name: &str) -> Option<PathBuf> {
    let folders = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"];
    let found = folders.iter().map(|folder| Path::new(folder).join(name));
    let found = found.into_iter().find(|file| file.is_file());
    if found.is_none() {
        skip(&format!(
            "{name} is not installed (Debian packages mosquitto, mosquitto-clients)"
        ));
    }
    found
}

impl Broker {
    /// None when there is none to be had.
    fn start(env: &TestEnv, settings: &str) -> Option<Self> {
        let mosquitto = installed("mosquitto")?;
        installed("mosquitto_sub")?;
        let address = SocketAddr::new(env.relay_address(0).ip(), PORT);
        let file = env.path("mosquitto.conf");
        let listener = format!("listener {PORT} {}\nuser root\n{settings}\n", address.ip());
        fs::write(&file, listener).unwrap();
        let program = env.launch("mosquitto", mosquitto);
        let program = program.flags(&format!("-v -c {}", file.display())).start();
        program.wait_for_line("running");
        Some(Self { program, address })
    }

    fn url(&self) -> String {
        format!("mqtt://{}", self.address)
    }

    /// A client that reads all topics.
    fn reader(&self, env: &TestEnv) -> Reader {
        let program = env
            .launch("mosquitto_sub", installed("mosquitto_sub").unwrap())
            .flags(&format!("-h {} -p {PORT} -t # -F %t_%x", self.address.ip()));
        Reader {
            program: program.start(),
        }
    }

    fn publish(&self, topic: &str, payload: &str) {
        let mut publish = Command::new("mosquitto_pub");
        publish.args([
            "-h",
            &self.address.ip().to_string(),
            "-p",
            &PORT.to_string(),
        ]);
        assert!(
            publish
                .args(["-t", topic, "-m", payload])
                .status()
                .unwrap()
                .success()
        );
    }
}

impl Reader {
    /// All messages from `mark` on, in their order.
    fn all(&self, mark: usize) -> Vec<(String, Vec<u8>)> {
        let lines = self.program.log().matching(mark, "_");
        let lines = lines.iter().filter(|line| line.from == "out");
        let parsed = lines.filter_map(|line| {
            let (topic, hex) = line.text.rsplit_once('_')?;
            let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
            let bytes: Option<Vec<u8>> = hex.as_bytes().chunks(2).map(byte).collect();
            Some((topic.to_owned(), bytes?))
        });
        parsed.collect()
    }

    /// The newest message of each topic.
    fn newest(&self, mark: usize) -> BTreeMap<String, String> {
        let texts = self.all(mark).into_iter();
        texts
            .map(|(topic, payload)| (topic, String::from_utf8_lossy(&payload).into_owned()))
            .collect()
    }

    fn mark(&self) -> usize {
        self.program.log().mark()
    }

    /// Waits until `pick` finds something in the newest message of `topic` from `mark` on.
    #[track_caller]
    fn wait<T>(&self, mark: usize, topic: &str, pick: impl Fn(&str) -> Option<T>) -> T {
        until(topic, SOON, || pick(self.newest(mark).get(topic)?))
    }

    /// Waits for the message by which `object` is `state`.
    #[track_caller]
    fn wait_state(&self, mark: usize, object: &str, state: &str) -> Value {
        self.wait(mark, &format!("fanlight/box/{object}/state"), |text| {
            let told: Value = serde_json::from_str(text).ok()?;
            (told["state"] == state).then_some(told)
        })
    }
}

fn source(env: &TestEnv) -> Program {
    env.source("cam")
        .flags("--input ball --size 320x240 --rate 20")
        .ready()
}

fn relay(env: &TestEnv, broker: &str, flags: &str) -> Program {
    let http = format!("{}:0", env.relay_address(0).ip());
    env.relay(0, &[env.ipc("cam")])
        .flag("mqtt", broker)
        .flags("--mqtt-id box")
        .flag("http", http)
        .flags(flags)
        .ready()
}

fn secret(env: &TestEnv, name: &str, text: &str) -> PathBuf {
    let file = env.path(name);
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    file
}

/// What `/api/health` says of MQTT; none: it is connected.
fn problem(site: Site) -> Option<String> {
    let health = site.get("/api/health").json();
    let mqtt = health["outputs"].get("mqtt")?;
    Some(mqtt.as_str().unwrap_or_default().to_owned())
}

#[test]
fn streams_and_screens_are_discovered_and_their_states_are_told() {
    let env = TestEnv::new();
    let Some(broker) = Broker::start(&env, "allow_anonymous true") else {
        return;
    };
    let reader = broker.reader(&env);
    let source = source(&env);
    let relay = relay(
        &env,
        &broker.url(),
        "--mqtt-picture-s 1 --mqtt-page http://box.lan:8080",
    );
    let viewer = env
        .viewer(env.relay_address(0), "cam")
        .flag("name", "Küche 1+#/")
        .start();

    let told = reader.wait_state(0, "stream-cam", "live");
    assert_eq!(
        (&told["problem"], &told["width"]),
        (&false.into(), &320.into())
    );
    reader.wait_state(0, "screen-K_c3_bcche_201_2b_23_2f", "unverified");
    let picture = until("a picture", SOON, || {
        let all = reader.all(0);
        let found = all
            .into_iter()
            .find(|(topic, _)| topic == "fanlight/box/stream-cam/picture");
        found.map(|(_, picture)| picture)
    });
    assert!(picture.starts_with(&[0xff, 0xd8]) && picture.ends_with(&[0xff, 0xd9]));

    let newest = reader.newest(0);
    let devices: Vec<_> = newest
        .iter()
        .filter(|(topic, _)| topic.ends_with("/config"))
        .collect();
    assert_eq!(devices.len(), 3, "the relay, a stream and a screen");
    for (topic, payload) in devices {
        home_assistant::check(topic, payload, &newest);
    }

    // Home Assistant starts anew, and may have forgotten everything.
    let mark = reader.mark();
    broker.publish("homeassistant/status", "online");
    reader.wait(mark, "homeassistant/device/box/stream-cam/config", |_| {
        Some(())
    });
    reader.wait_state(mark, "stream-cam", "live");

    drop(viewer);
    source.kill();
    let told = reader.wait_state(0, "stream-cam", "gone");
    assert_eq!(
        (&told["problem"], &told["fps"]),
        (&true.into(), &Value::Null)
    );
    reader.wait_state(0, "screen-K_c3_bcche_201_2b_23_2f", "gone");
    source.start_again();
    reader.wait_state(mark, "stream-cam", "live");
    relay.stop();
    reader.wait(mark, "fanlight/box/availability", |text| {
        (text == "offline").then_some(())
    });
}

#[test]
fn a_screen_shows_what_is_chosen_at_the_broker_if_the_relay_allows_that() {
    let env = TestEnv::new();
    let Some(broker) = Broker::start(&env, "allow_anonymous true") else {
        return;
    };
    let reader = broker.reader(&env);
    let _source = source(&env);
    let plain = relay(&env, &broker.url(), "");
    let screen = env.viewer(env.relay_address(0), "cam").flag("name", "wall");
    let screen = screen
        .flag("state-dir", env.path("state"))
        .flags("--directed");
    let _screen = screen.start();
    let (config, topic) = (
        "homeassistant/device/box/screen-wall/config",
        "fanlight/box/screen-wall/direct",
    );
    let has_choice = |text: &str| text.contains(topic);
    reader.wait(0, config, |text| (!has_choice(text)).then_some(()));
    assert!(
        broker.program.log().matching(0, "+/direct").is_empty(),
        "it does not listen"
    );
    plain.stop();

    let mark = reader.mark();
    let relay = relay(
        &env,
        &broker.url(),
        "--mqtt-directs --mqtt-page http://box.lan:8080",
    );
    reader.wait(mark, config, |text| has_choice(text).then_some(()));
    reader.wait_state(mark, "screen-wall", "unverified");
    let newest = reader.newest(0);
    home_assistant::check(config, &newest[config], &newest);
    let wait_directed = |what: &str| {
        reader.wait(mark, "fanlight/box/screen-wall/state", |text| {
            let told: Value = serde_json::from_str(text).ok()?;
            (told["directed"] == what).then_some(())
        });
    };
    for what in ["cam", "own settings"] {
        broker.publish(topic, what);
        wait_directed(what);
    }
    let row = Site::of(&relay).get("/api/screens").json()["screens"][0].clone();
    assert_eq!(row["direction"]["by"], "MQTT", "{row}");
    broker.publish(topic, "none");
    relay.says(&["WARN", "the relay has no stream \"none\""]);
}

#[test]
fn a_relay_that_dies_is_offline_by_its_last_will() {
    let env = TestEnv::new();
    let Some(broker) = Broker::start(&env, "allow_anonymous true") else {
        return;
    };
    let reader = broker.reader(&env);
    let relay = relay(&env, &broker.url(), "");
    let availability = "fanlight/box/availability";
    reader.wait(0, availability, |text| (text == "online").then_some(()));
    relay.kill();
    reader.wait(0, availability, |text| (text == "offline").then_some(()));
    relay.start_again();
    reader.wait(0, availability, |text| (text == "online").then_some(()));
}

#[test]
fn a_broker_that_stands_still_or_starts_anew_costs_no_frame_and_then_knows_all() {
    let env = TestEnv::new();
    // It keeps nothing: what it knows afterwards it was told again.
    let Some(broker) = Broker::start(&env, "allow_anonymous true\npersistence false") else {
        return;
    };
    let source = source(&env);
    let relay = relay(&env, &broker.url(), "--mqtt-picture-s 1 --http-access open");
    let site = Site::of(&relay);
    let reader = broker.reader(&env);
    reader.wait_state(0, "stream-cam", "live");
    let memory = relay.usage().resident;

    broker.program.freeze();
    let frames = if long() { 20 * 60 } else { 40 };
    let mut parts = site.stream("/stream/cam.mjpeg", &[]);
    for _ in 0..frames {
        parts.next_part().unwrap().expect("the stream goes on");
    }
    drop(parts);
    source.kill();
    if long() {
        relay.wait_for_line("mqtt: mqtt://");
    }
    let grown = relay.usage().resident.saturating_sub(memory);
    assert!(grown < GROWTH, "{grown} bytes more");
    broker.program.thaw();
    reader.wait_state(0, "stream-cam", "gone");

    broker.program.kill();
    source.start_again();
    let away = until("the relay sees that", SOON, || {
        problem(site).filter(|why| !why.is_empty())
    });
    assert_eq!(
        away, "it is not connected",
        "who is no administrator learns no address"
    );
    let mark = reader.mark();
    broker.program.start_again();
    reader.wait_state(mark, "stream-cam", "live");
    let config = "homeassistant/device/box/stream-cam/config";
    reader.wait(mark, config, |_| Some(()));
    assert_eq!(problem(site).as_deref(), Some(""));
}

#[test]
fn a_wrong_password_is_named_and_the_right_one_is_taken_without_a_restart() {
    let env = TestEnv::new();
    let passwords = secret(&env, "passwords", "");
    if installed("mosquitto_passwd").is_none() {
        return;
    }
    let mut made = Command::new("mosquitto_passwd");
    made.arg("-b")
        .arg(&passwords)
        .args(["fanlight", "right one"]);
    assert!(made.status().unwrap().success());
    let settings = format!(
        "allow_anonymous false\npassword_file {}",
        passwords.display()
    );
    let Some(broker) = Broker::start(&env, &settings) else {
        return;
    };

    let password = secret(&env, "password", "wrong one\n");
    let flags = format!(
        "--mqtt-user fanlight --mqtt-password {}",
        password.display()
    );
    let relay = relay(&env, &broker.url(), &flags);
    let site = Site::of(&relay);
    relay.says(&["WARN", "refuses the user fanlight", "mqtt_password"]);
    let told = until("the relay tells it", SOON, || problem(site));
    assert!(told.contains("refuses the user fanlight"), "{told}");
    fs::write(&password, "right one\n").unwrap();
    relay.wait_for_line("mqtt: connected");
    let warnings = relay.log().matching(0, "refuses the user");
    assert_eq!(warnings.len(), 1, "it is said once");
}

#[test]
fn a_certificate_is_judged_by_the_authority_that_the_settings_name() {
    let env = TestEnv::new();
    let name = env.relay_address(0).ip();
    let Some([right, wrong]) = ["right", "wrong"]
        .map(|file| certificate(&env.path(file), &format!("IP:{name}")))
        .into_iter()
        .collect::<Option<Vec<_>>>()
        .and_then(|files| <[PathBuf; 2]>::try_from(files).ok())
    else {
        return;
    };

    let settings = format!(
        "allow_anonymous true\ncertfile {}\nkeyfile {}",
        right.display(),
        right.with_extension("pem").display()
    );
    let Some(broker) = Broker::start(&env, &settings) else {
        return;
    };
    let url = format!("mqtts://{}", broker.address);
    let trust = env.path("ca.crt");
    fs::copy(&wrong, &trust).unwrap();
    let relay = relay(&env, &url, &format!("--mqtt-ca-file {}", trust.display()));
    relay.says(&["WARN", "certificate is not trusted", "mqtt_ca_file"]);
    fs::copy(&right, &trust).unwrap();
    relay.wait_for_line("mqtt: connected");
}

/// The box of the document is this host: nothing is installed, and what systemd does there is done here.
#[test]
fn the_commands_of_the_document_do_what_it_says() {
    let env = TestEnv::new();
    let Some(broker) = Broker::start(&env, "allow_anonymous true") else {
        return;
    };
    let reader = broker.reader(&env);
    let programs = put_programs(&env);
    let _source = env
        .program("source")
        .flags("--stream cam --input ball")
        .ready();
    let config = env.path("fanlight.toml");
    let http = env.http_address(0).to_string();
    let mut relay = None;

    Document::read("home-assistant.md").run(|_, commands| {
        let commands = commands
            .replace("/etc/fanlight", &env.directory().display().to_string())
            .replace("mqtt://homeassistant.local", &broker.url())
            .replace("*:8080", &http);
        if commands.contains("link add") {
            let started = env.program("relay").flag("config", &config);
            let started = started.flag("listen", env.relay_address(0).to_string());
            // By then the stream is there.
            relay = Some(started.flag("http-links", env.path("links")).ready());
            reader.wait_state(0, "stream-cam", "live");
        }
        let commands = format!("systemctl() {{ :; }}; chown() {{ :; }}\n{commands}");
        shell(&env, &["env"], &programs, &commands)
    });
    assert!(relay.is_some(), "there is a block that makes a link");
}

/// A certificate that signs itself, with its key beside it.
fn certificate(place: &Path, name: &str) -> Option<PathBuf> {
    let file = place.with_extension("crt");
    let words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=broker";
    let made = Command::new("openssl")
        .args(words.split(' '))
        .args(["-addext", &format!("subjectAltName={name}")])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
        .arg(place.with_extension("pem"))
        .arg("-out")
        .arg(&file)
        .output();
    match made {
        Ok(output) if output.status.success() => Some(file),
        _ => {
            skip("no openssl to make certificates with");
            None
        }
    }
}
