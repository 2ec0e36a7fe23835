//! `relay/http/openapi.json`: it names every address that a relay serves and no other, who may ask for it, and what comes.

use std::collections::BTreeSet;

use fanlight_tests::wait::{SOON, until};
use serde_json::{Value, json};

use super::access::Locked;

const ROUTER: &str = include_str!("../../../../relay/http/src/router.rs");

/// The methods that an address may have.
const METHODS: [&str; 6] = ["get", "post", "put", "patch", "delete", "options"];

fn document() -> Value {
    serde_json::from_str(include_str!("../../../../relay/http/openapi.json")).unwrap()
}

/// Method and path of each operation, as the router has them.
fn served() -> BTreeSet<(String, String)> {
    let routes = ROUTER.split(".route(").skip(1);
    let served = routes.flat_map(|route| {
        let path = route.split('"').nth(1).unwrap();
        // What follows the last route is no part of it.
        let route = route.split(".fallback(").next().unwrap();
        let has = |method: &&str| {
            let call = format!("{method}(");
            let mut found = route.match_indices(call.as_str());
            found.any(|(at, _)| {
                !route[..at]
                    .ends_with(|before: char| before.is_alphanumeric() || ":_".contains(before))
            })
        };
        let methods = METHODS.into_iter().filter(has);
        methods.map(move |method| (method.to_owned(), path.to_owned()))
    });
    served.collect()
}

/// The operations of the document.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    let operations = paths.flat_map(|(path, item)| {
        let methods = item.as_object().unwrap().iter();
        methods.map(move |(method, operation)| (method.clone(), path.clone(), operation.clone()))
    });
    operations.collect()
}

/// An address of this form that there may be.
fn example(path: &str) -> String {
    let path = path.replace("/stream/{file}", "/stream/none.mjpeg");
    let path = path.replace("{name}/history", "lobby/history");
    let path = path.replace("{file}", "cam.jpg").replace("{stream}", "cam");
    path.replace("{name}", "none").replace("{session}", "none")
}

/// Asks for an operation; the status of the answer, and its code if it is an error. No stream is read to its end.
fn ask(locked: &Locked, token: Option<&str>, method: &str, path: &str) -> (u16, String) {
    let token = token.map(|token| format!("Bearer {token}"));
    let headers: Vec<_> = token
        .iter()
        .map(|token| ("Authorization", token.as_str()))
        .collect();
    let headers = [&headers[..], &[("Connection", "close")]].concat();
    let site = locked.fixture.site;
    let (mut answer, mut rest) = site
        .begin(&method.to_uppercase(), path, &headers, "")
        .unwrap();
    let is_error = answer.status >= 400 && answer.header("content-type") == "application/json";
    if !is_error {
        return (answer.status, String::new());
    }
    rest.read_body(&mut answer).unwrap();
    (answer.status, answer.error())
}

/// Checks `value` against a schema, as far as this document uses JSON Schema; what is wrong.
fn check(document: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    if let Some(name) = schema["$ref"].as_str() {
        let schema = document
            .pointer(name.trim_start_matches('#'))
            .expect("the schema is there");
        return check(document, schema, value, at);
    }
    if let Some(several) = schema["oneOf"].as_array() {
        let fits = |schema: &&Value| check(document, schema, value, at).is_empty();
        let fit = several.iter().filter(fits).count();
        return if fit == 1 {
            Vec::new()
        } else {
            vec![format!("{at}: {value} fits {fit} of the schemas")]
        };
    }

    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
        _ => return Vec::new(),
    };
    let is = |kind: &&str| match *kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("a schema has the type {other}"),
    };
    if !types.iter().any(is) {
        return vec![format!("{at}: {value} is no {types:?}")];
    }

    let mut wrong = Vec::new();
    if let Some(words) = schema["enum"]
        .as_array()
        .filter(|words| !value.is_null() && !words.contains(value))
    {
        wrong.push(format!("{at}: {value} is none of {words:?}"));
    }
    for (number, item) in value.as_array().into_iter().flatten().enumerate() {
        wrong.extend(check(
            document,
            &schema["items"],
            item,
            &format!("{at}[{number}]"),
        ));
    }
    let fields = value.as_object().cloned().unwrap_or_default();
    for (field, inner) in &fields {
        match (
            &schema["properties"][field],
            &schema["additionalProperties"],
        ) {
            (Value::Null, Value::Bool(false)) => {
                wrong.push(format!("{at}: nobody knows the field {field}"));
            }
            (Value::Null, others) => {
                wrong.extend(check(document, others, inner, &format!("{at}.{field}")));
            }
            (known, _) => {
                wrong.extend(check(document, known, inner, &format!("{at}.{field}")));
            }
        }
    }
    let required = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    let missing = required.filter(|field| value.is_object() && !fields.contains_key(*field));
    wrong.extend(missing.map(|field| format!("{at}: {field} is missing")));
    wrong
}

#[test]
fn the_openapi_file_names_the_addresses_that_there_are_and_no_other() {
    let document = document();
    let named: BTreeSet<_> = operations(&document)
        .into_iter()
        .map(|(method, path, _)| (method, path))
        .collect();
    assert_eq!(named, served());
    assert!(named.len() > 25, "{named:?}");
}

#[test]
fn each_address_of_the_openapi_file_is_for_whom_it_says_and_answers_as_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let scenes = folder.path().join("scenes.json");
    let locked = Locked::with(&format!(
        "--http-history-s 60 --http-scenes {}",
        scenes.display()
    ));
    let (view, admin) = (locked.view.as_str(), locked.admin.as_str());
    let scene = json!({ "screens": { "lobby": { "streams": ["cam"] } } }).to_string();
    let bearer = format!("Bearer {admin}");
    let headers = [("Authorization", bearer.as_str())];
    let made = locked
        .fixture
        .site
        .ask("PUT", "/api/scenes/morning", &headers, &scene);
    assert_eq!(made.status, 200);

    let env = &locked.fixture.env;
    let screen = env
        .viewer(env.relay_address(0), "cam")
        .flag("name", "lobby");
    let screen = screen
        .flag("state-dir", env.path("state"))
        .flags("--directed")
        .start();
    screen.wait_shown(3);
    until("the screen is in the history", SOON, || {
        let site = locked.fixture.site;
        let answer = site.ask("GET", "/api/screens/lobby/history", &headers, "");
        (answer.status == 200).then_some(())
    });

    let document = document();
    for (method, path, operation) in operations(&document) {
        let what = format!("{method} {path}");
        let address = example(&path);
        let role = operation["x-role"].as_str().unwrap();
        let (status, code) = ask(&locked, None, &method, &address);
        assert_eq!(status == 401, role != "anybody", "{what}: {status} {code}");
        let (status, code) = ask(&locked, Some(view), &method, &address);
        assert_eq!(
            code == "admin_needed",
            role == "admin",
            "{what}: {status} {code}"
        );
        let (status, code) = ask(&locked, Some(admin), &method, &address);
        assert!(
            code != "not_found" && code != "wrong_method" && status < 500,
            "{what}: {status} {code}"
        );

        let json = |status: &str| {
            operation["responses"][status]["content"]["application/json"]["schema"].clone()
        };
        if method == "get" && !json("200").is_null() {
            let answer = locked.fixture.site.ask("GET", &address, &headers, "");
            let schema = json(&answer.status.to_string());
            assert!(!schema.is_null(), "{what}: {}", answer.status);
            let wrong = check(&document, &schema, &answer.json(), &what);
            assert_eq!(wrong, [""; 0], "{}", answer.json());
        }
    }
}
