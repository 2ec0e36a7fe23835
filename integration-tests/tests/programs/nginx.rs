//! The relay behind nginx, with the very file that is shipped.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_tests::http::Site;
use fanlight_tests::program::Program;
use fanlight_tests::promise::judge;
use fanlight_tests::viewer_process::hash;
use fanlight_tests::wait::{SOON, until};
use fanlight_tests::{TestEnv, skip};

/// Where connections to loopback addresses come from that choose none.
const PROXY: &str = "127.0.0.1";

/// Frames of which the ages are compared.
const FRAMES: usize = 60;

/// nginx, a relay and a source.
struct Front {
    _stage: TestEnv,
    _source: Program,
    _relay: Program,
    _nginx: Program,
    direct: Site,
    /// Without TLS, which the shipped file has nowhere: what reads strictly here speaks plain HTTP.
    plain: Site,
    /// What stands at port 80.
    redirecting: Site,
    access_log: PathBuf,
    secure: SocketAddr,
    certificate: PathBuf,
}

impl Front {
    fn open() -> Option<Self> {
        let Some(nginx) = nginx() else {
            skip("nginx is not installed (Debian package nginx-light)");
            return None;
        };

        let env = TestEnv::new();
        let certificate = certificate(env.directory())?;
        let source = env
            .source("cam")
            .flags("--input ball --size 640x360 --rate 30")
            .ready();

        let own = env.relay_address(0).ip();
        let plain = SocketAddr::new(own, 8080);
        let redirecting = SocketAddr::new(own, 8081);
        let secure = SocketAddr::new(own, 8443);
        let relay = env
            .relay(0, &[env.ipc("cam")])
            .flag("http", format!("{own}:0"))
            .flag("http-proxies", PROXY);

        // The name that browsers use is not the relay's own.
        let relay = relay
            .flag(
                "http-origins",
                format!("https://cams.example:{},http://{plain}", secure.port()),
            )
            .ready();

        let direct = Site::of(&relay);
        let access_log = env.path("access.log");
        let replaced = [
            ("server 127.0.0.1:8080;", format!("server {};", direct.0)),
            ("listen 80;", format!("listen {redirecting};")),
            (
                "listen 443 ",
                format!("listen {plain} sndbuf=256k;\n    listen {secure} "),
            ),
        ];
        configure(&env, &replaced, &access_log, &certificate);
        let words = format!(
            "-e stderr -p {} -c {}",
            env.directory().display(),
            env.path("nginx.conf").display()
        );

        let nginx = env.launch("nginx", nginx).flags(&words).start();
        let site = Site(plain);
        until("nginx answers", SOON, || site.connect().ok());
        until("the first picture has come", SOON, || {
            (site.get("/snapshot/cam.jpg").status == 200).then_some(())
        });

        Some(Self {
            _stage: env,
            _source: source,
            _relay: relay,
            _nginx: nginx,
            direct,
            plain: site,
            redirecting: Site(redirecting),
            access_log,
            secure,
            certificate,
        })
    }

    /// What curl gets from `path` over https.
    fn curl(&self, words: &[&str], path: &str) -> Vec<u8> {
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--cacert"])
            .arg(&self.certificate)
            .args([
                "--resolve",
                &format!("cams.example:{}:{}", self.secure.port(), self.secure.ip()),
            ])
            .args(words)
            .arg(format!("https://cams.example:{}{path}", self.secure.port()))
            .output()
            .unwrap();

        assert!(
            matches!(output.status.code(), Some(0 | 28)),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );

        output.stdout
    }
}

fn nginx() -> Option<PathBuf> {
    let places = ["/usr/sbin/nginx", "/usr/local/sbin/nginx", "/usr/bin/nginx"];
    places
        .iter()
        .map(PathBuf::from)
        .find(|place| place.is_file())
}

/// The shipped file with the addresses of this test, and what a distribution's nginx.conf has around it.
fn configure(env: &TestEnv, addresses: &[(&str, String)], access_log: &Path, certificate: &Path) {
    let mut shipped = include_str!("../../../deploy/nginx.conf").to_owned();
    let key = certificate.with_extension("pem");

    let files = [
        ("/etc/nginx/fanlight.crt", certificate.display().to_string()),
        ("/etc/nginx/fanlight.pem", key.display().to_string()),
    ];
    for (from, to) in addresses.iter().chain(&files) {
        assert_eq!(
            shipped.matches(from).count(),
            1,
            "the shipped file has {from:?} once"
        );
        shipped = shipped.replace(from, to);
    }

    let log = access_log.display().to_string();
    shipped = shipped.replace("/var/log/nginx/fanlight.log", &log);

    std::fs::write(env.path("fanlight.conf"), shipped).unwrap();
    // In one process: workers outlive a master that is killed with its test.
    let around = "daemon off;\nmaster_process off;\nerror_log stderr warn;\npid nginx.pid;\nevents {}\nhttp {\n\
                  access_log off;\nclient_body_temp_path body;\nproxy_temp_path proxy;\nfastcgi_temp_path fastcgi;\n\
                  uwsgi_temp_path uwsgi;\nscgi_temp_path scgi;\ninclude fanlight.conf;\n}\n";
    std::fs::write(env.path("nginx.conf"), around).unwrap();
}

/// A certificate for `cams.example` with its key beside it.
fn certificate(folder: &Path) -> Option<PathBuf> {
    let file = folder.join("fanlight.crt");
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ])
        .args([
            "-subj",
            "/CN=cams.example",
            "-addext",
            "subjectAltName=DNS:cams.example",
            "-keyout",
        ])
        .arg(file.with_extension("pem"))
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

fn median(mut ages: Vec<Duration>) -> Duration {
    ages.sort_unstable();
    ages[ages.len() / 2]
}

/// How far apart the pictures of the multipart stream were captured.
fn multipart_intervals(site: Site) -> Vec<Duration> {
    let mut parts = site.stream("/stream/cam.mjpeg?framing=plain", &[]);
    let captured: Vec<f64> = (0..FRAMES)
        .map(|_| {
            parts
                .next_part()
                .unwrap()
                .expect("the stream goes on")
                .header("x-timestamp")
                .parse()
                .unwrap()
        })
        .collect();

    let between = captured.windows(2).map(|pair| pair[1] - pair[0]);
    assert!(
        between.clone().all(|length| length > 0.0),
        "newer and newer"
    );

    between.map(Duration::from_secs_f64).collect()
}

/// How old the pictures that come by WebSocket are when they have come, by the clock that all programs here share.
fn socket_ages(site: Site) -> Vec<Duration> {
    let mut socket = site
        .socket("/ws", &[])
        .expect("the WebSocket is let through");
    socket.subscribe(1, "cam", None);
    let age = |_| {
        let frame = socket.frame().unwrap();
        socket.credit(1);
        let now = i64::try_from(clock::now().as_micros()).unwrap();
        Duration::from_micros(u64::try_from(now - frame.captured_us).unwrap())
    };

    (0..FRAMES).map(age).collect()
}

#[test]
#[ignore = "./dev promises"]
fn frames_come_through_nginx_as_fresh_as_without_it() {
    judge("ages through nginx", |measurement| {
        let Some(front) = Front::open() else { return };
        let direct = front.direct;
        let plain = front.plain;
        let aside = std::thread::spawn(move || median(socket_ages(direct)));
        let through = median(socket_ages(plain));
        let without = aside.join().unwrap();
        // One more program on the way, on a machine that tests share: a frame that nginx kept would be 33 ms older.
        let most = without * 3 + Duration::from_millis(20);
        measurement.compare(
            "median age through nginx, beside without",
            format!("< {most:.1?}"),
            format!("{through:.1?}"),
            format!("{without:.1?}"),
            through < most,
        );
    });
}

#[test]
#[ignore = "./dev promises"]
fn a_multipart_stream_passes_whole_and_at_its_rate() {
    judge("a rate through nginx", |measurement| {
        let Some(front) = Front::open() else { return };
        let direct = front.direct;
        let plain = front.plain;
        let aside = std::thread::spawn(move || median(multipart_intervals(direct)));
        let through = median(multipart_intervals(plain));
        let without = aside.join().unwrap();
        measurement.compare(
            "between two pictures through nginx, beside without",
            "<= 2 x",
            format!("{through:.1?}"),
            format!("{without:.1?}"),
            through <= without * 2,
        );
    });
}

#[test]
#[ignore = "./dev promises"]
fn a_picture_passes_before_the_next_one_is_there() {
    judge("nginx keeps nothing back", |measurement| {
        let Some(front) = Front::open() else { return };
        let direct = front.direct;
        let all = std::thread::spawn(move || {
            let mut socket = direct.socket("/ws", &[]).unwrap();
            socket.subscribe(1, "cam", None);
            let frame = |_| {
                let frame = socket.frame().unwrap();
                socket.credit(1);
                (hash(&frame.jpeg), frame.captured_us)
            };

            (0..150).map(frame).collect::<HashMap<_, _>>()
        });

        // With advance framing a part is complete when its picture is: nothing of it may wait in nginx for what follows,
        // which at this rate is half a second later.
        let mut parts = front
            .plain
            .stream("/stream/cam.mjpeg?framing=advance&fps=2", &[]);
        let arrived: Vec<_> = (0..6)
            .map(|_| {
                let part = parts.next_part().unwrap().expect("the stream goes on");
                (
                    hash(&part.body),
                    i64::try_from(clock::now().as_micros()).unwrap(),
                )
            })
            .collect();

        let all = all.join().unwrap();
        let ages: Vec<_> = arrived
            .iter()
            .filter_map(|(hash, at)| Some(at - all.get(hash)?))
            .collect();

        assert!(ages.len() >= 4, "{ages:?} us");
        measurement.all_at_most(
            "age of a picture when it is complete",
            Duration::from_millis(300),
            ages.into_iter()
                .map(|age| Duration::from_micros(u64::try_from(age).unwrap_or(0))),
        );
    });
}

#[test]
fn pictures_and_streams_are_there_over_tls_with_either_http() {
    let Some(front) = Front::open() else { return };
    for version in ["--http1.1", "--http2"] {
        let picture = front.curl(&[version, "--max-time", "10"], "/snapshot/cam.jpg");
        assert!(
            picture.starts_with(&[0xff, 0xd8]) && picture.ends_with(&[0xff, 0xd9]),
            "{version}"
        );

        let stream = front.curl(
            &[version, "--max-time", "2"],
            "/stream/cam.mjpeg?framing=plain",
        );

        let parts = stream
            .windows(13)
            .filter(|bytes| bytes == b"X-Timestamp: ")
            .count();

        assert!(parts > 1, "{parts} pictures in two seconds, {version}");
    }

    let roll = front.curl(&["--max-time", "10"], "/api/streams");
    let roll: serde_json::Value = serde_json::from_slice(&roll).unwrap();
    assert_eq!(roll["streams"][0]["name"], "cam");
}

#[test]
fn who_watches_through_nginx_is_told_by_their_own_address_and_nobody_chooses_one() {
    let Some(front) = Front::open() else { return };
    let lie = ["--header", "X-Forwarded-For: 6.6.6.6", "--max-time", "10"];
    let through = front.curl(
        &[&["--interface", "127.0.0.77"], &lie[..]].concat(),
        "/snapshot/cam.jpg",
    );

    let mut direct = Command::new("curl");
    direct
        .args(["--silent", "--interface", "127.0.0.78"])
        .args(lie);
    let direct = direct
        .arg(format!("http://{}/snapshot/cam.jpg", front.direct.0))
        .output()
        .unwrap()
        .stdout;

    for picture in [through, direct] {
        assert!(picture.starts_with(&[0xff, 0xd8]));
    }

    let viewers: serde_json::Value =
        serde_json::from_slice(&front.direct.get("/api/viewers").body).unwrap();
    let address = |viewer: &serde_json::Value| {
        viewer["address"]
            .as_str()
            .unwrap()
            .parse::<SocketAddr>()
            .unwrap()
    };

    let hosts: Vec<_> = viewers["viewers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|viewer| address(viewer).ip())
        .collect();

    // The first one waited for the first picture.
    for (host, watches) in [
        (PROXY, true),
        ("127.0.0.77", true),
        ("127.0.0.78", true),
        ("6.6.6.6", false),
    ] {
        assert_eq!(
            hosts.contains(&host.parse().unwrap()),
            watches,
            "{host}: {hosts:?}"
        );
    }
}

#[test]
fn what_the_relay_forbids_is_forbidden_through_nginx() {
    let Some(front) = Front::open() else { return };
    let foreign = front
        .plain
        .ask("GET", "/api/streams", &[("Host", "elsewhere.example")], "");
    assert_eq!(
        foreign.status,
        403,
        "{}",
        String::from_utf8_lossy(&foreign.body)
    );

    let page = [("Origin", "https://elsewhere.example")];
    assert!(
        front.plain.socket("/ws", &page).is_err(),
        "a page of another origin gets no WebSocket"
    );

    assert_eq!(
        front.plain.get("/metrics").status,
        200,
        "from here figures may be read"
    );
}

#[test]
fn port_80_leads_to_tls_and_no_query_is_logged() {
    let Some(front) = Front::open() else { return };
    let host = [("Host", "cams.example")];
    let path = "/snapshot/cam.jpg?expires=1&signature=in-the-query";
    let answer = front.redirecting.ask("GET", path, &host, "");
    assert_eq!(
        (answer.status, answer.header("location")),
        (308, format!("https://cams.example{path}").as_str())
    );

    let answer = front.plain.get("/api/streams?secret=in-the-query");
    assert_eq!(answer.status, 200);
    let lines = until("both are logged", SOON, || {
        let log = std::fs::read_to_string(&front.access_log).unwrap();
        let both = log.contains("\"GET /snapshot/cam.jpg HTTP/1.1\" 308")
            && log.contains("\"GET /api/streams HTTP/1.1\" 200");
        both.then_some(log)
    });
    assert!(!lines.contains("in-the-query"), "{lines}");
}
