use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::jpeg::Encoder;
use crate::pixel_buffer::PixelBuffer;

fn picture(shade: u8) -> Vec<u8> {
    let mut buffer = PixelBuffer::default();
    buffer.reset_rgb(32, 16).fill(shade);
    Encoder::new(80)
        .unwrap()
        .encode(&buffer)
        .unwrap()
        .jpeg()
        .to_vec()
}

fn open(command: &str) -> Box<dyn Camera> {
    PipeInput {
        command: Some(command.to_owned()),
    }
    .open()
    .unwrap()
}

/// Pictures with the number that each has, and how it ended.
fn all(mut camera: Box<dyn Camera>) -> (Vec<(u64, Vec<u8>)>, CameraError) {
    let (mut pictures, mut number) = (Vec::new(), 0);
    loop {
        match camera.next(number, &mut Raw::default()) {
            Ok(CapturedFrame {
                skipped,
                content: Content::Jpeg(jpeg),
                ..
            }) => {
                number += skipped;
                pictures.push((number, jpeg.jpeg().to_vec()));
                number += 1;
            }
            Ok(CapturedFrame {
                skipped,
                content: Content::Unusable(_),
                ..
            }) => number += skipped + 1,
            Ok(_) => panic!("a pipe delivers JPEGs"),
            Err(error) => return (pictures, error),
        }
    }
}

/// Whether the process whose id a file holds runs; a zombie does not.
fn runs(pid_file: &Path) -> bool {
    let pid = fs::read_to_string(pid_file).unwrap();
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
}

fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = clock::now() + Duration::from_secs(60);
    while !done() {
        assert!(clock::now() < deadline, "{what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

#[test]
fn every_picture_of_a_command_comes_in_order_and_then_how_it_ended() {
    let dir = TempDir::new().unwrap();
    let movie = dir.path().join("movie");
    let pictures: Vec<_> = (0..200).map(|n| picture(n as u8)).collect();
    fs::write(&movie, pictures.concat()).unwrap();
    let (delivered, end) = all(open(&format!(
        "cat {0} {0}; echo first; echo the camera is gone >&2; exit 3",
        movie.display()
    )));

    let numbered: Vec<_> = (0..)
        .zip(pictures.iter().chain(&pictures).cloned())
        .collect();
    assert!(delivered == numbered);
    assert!(matches!(end, CameraError::Failed(_)));
    let text = end.to_string();
    assert!(
        text.contains("exit status: 3") && text.contains("the camera is gone"),
        "{text}"
    );
}

#[test]
fn a_damaged_picture_in_the_pipe_costs_only_itself_and_leaves_a_gap_in_the_numbers() {
    let dir = TempDir::new().unwrap();
    let movie = dir.path().join("movie");
    let good = picture(9);
    fs::write(
        &movie,
        [&good, &good[..good.len() - 5], &good, &b"noise"[..], &good].concat(),
    )
    .unwrap();

    let (delivered, _) = all(open(&format!("cat {}", movie.display())));
    assert!(delivered.iter().all(|(_, jpeg)| *jpeg == good));
    assert_eq!(
        delivered
            .iter()
            .map(|(number, _)| *number)
            .collect::<Vec<_>>(),
        [0, 2, 3]
    );
}

#[test]
fn a_command_that_cannot_run_says_why() {
    let (_, end) = all(open("/no/such/program"));
    let text = end.to_string();
    assert!(
        text.contains("exit status: 127") && text.contains("/no/such/program"),
        "{text}"
    );
}

#[test]
fn a_command_that_writes_no_jpeg_is_told_what_it_should_write() {
    let (_, end) = all(open("cat /dev/zero"));
    assert!(
        matches!(&end, CameraError::WrongFormat(text) if text.contains("-f mjpeg")),
        "{end}"
    );
}

#[test]
fn a_dropped_camera_ends_all_that_its_command_started_even_what_ignores_sigterm() {
    for trap in ["", "trap '' TERM; "] {
        let dir = TempDir::new().unwrap();
        let (shell, inner) = (dir.path().join("shell"), dir.path().join("inner"));
        let files = format!(
            "echo $$ > {}; sleep 1000 & echo $! > {}",
            shell.display(),
            inner.display()
        );

        let camera = open(&format!(
            "{trap}{files}; echo > {}/ready; wait; sleep 1000",
            dir.path().display()
        ));

        eventually("the command starts", || dir.path().join("ready").exists());
        assert!(runs(&shell) && runs(&inner));
        drop(camera);
        eventually("the command ends", || !runs(&shell) && !runs(&inner));
    }
}

#[test]
fn terminating_all_commands_frees_a_camera_that_waits() {
    let dir = TempDir::new().unwrap();
    let ready = dir.path().join("ready");
    // A list of its own: the other tests' commands are to live.
    let running: &'static child::Running = Box::leak(Box::default());
    let command = format!("trap '' TERM; echo > {}; sleep 1000", ready.display());
    let (child, stdout) = Child::spawn_among(Task::shell(&command), running).unwrap();
    let camera = Box::new(PipeCamera::new(stdout, Some(child)).unwrap());
    let waiting = std::thread::spawn(move || all(camera).1);
    eventually("the command starts", || ready.exists());
    running.terminate();
    assert!(matches!(waiting.join().unwrap(), CameraError::Failed(_)));
}

#[test]
fn a_pipe_whose_pictures_are_all_broken_says_what_is_wrong_with_them() {
    let dir = TempDir::new().unwrap();
    let movie = dir.path().join("movie");
    let scans = crate::jpeg::markers::tests::with_scans(8, 8, 1000);
    fs::write(&movie, [&scans[..], &scans].concat()).unwrap();
    let mut camera = open(&format!("cat {}", movie.display()));
    let frame = camera.next(0, &mut Raw::default()).unwrap();

    let Content::Unusable(reason) = frame.content else {
        panic!("{frame:?}")
    };

    assert!(reason.contains("too many scans"), "{reason}");
}

#[test]
fn a_secret_of_a_command_stands_in_no_error() {
    let mut task = Task::shell("echo cannot open http://me:geheim@cam >&2; exit 1");
    task.secrets = vec!["geheim".to_owned()];
    let (child, stdout) = Child::spawn(task).unwrap();
    let (_, end) = all(Box::new(PipeCamera::new(stdout, Some(child)).unwrap()));
    let text = end.to_string();
    assert!(text.contains("http://me:…@cam"), "{text}");
}

#[test]
fn a_command_reads_what_it_is_given() {
    let dir = TempDir::new().unwrap();
    let movie = dir.path().join("movie");
    fs::write(&movie, picture(3)).unwrap();
    let mut task = Task::shell("read file; cat $file");
    task.stdin = Some(format!("{}\n", movie.display()));
    let (child, stdout) = Child::spawn(task).unwrap();
    let (delivered, _) = all(Box::new(PipeCamera::new(stdout, Some(child)).unwrap()));
    assert_eq!(delivered, [(0, picture(3))]);
}

#[test]
fn passwords_and_queries_of_addresses_in_a_command_are_never_told() {
    let command = "echo 'rtsp://me:ge/heim@cam/x?pwd=geheim2' >&2; exec ffmpeg -i \"http://a:geheim3@b/c\" -f mjpeg rtsp://cam/y";
    let input = PipeInput {
        command: Some(command.to_owned()),
    };
    let told = input.describe();
    assert!(!told.contains("heim"), "{told}");
    for kept in ["rtsp://me:…@cam/x…'", "http://a:…@b/c", "rtsp://cam/y"] {
        assert!(told.contains(kept), "{told}");
    }

    let (_, error) = all(open(
        "echo 'cannot open rtsp://me:ge/heim@cam/x?pwd=geheim2' >&2",
    ));
    let told = error.to_string();
    assert!(told.contains("rtsp://me:…@cam/x…"), "{told}");
}
