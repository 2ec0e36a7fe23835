//! The camera's controls for relays, where `remote_controls` lets them. Requests come on the publisher's thread, which sends
//! frames and waits for no driver: a thread that lasts for one request asks the driver, and there is one at a time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fanlight_daemon::clock;
use fanlight_daemon::rate_limit::LogLimiter;
use fanlight_proto::message::{ControlAnswer, ControlRequest};
use fanlight_publisher::{ControlHandler, ControlReply};
use parking_lot::Mutex;

use crate::camera::v4l;

/// Whose controls relays may set, by the settings.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// Nobody's, and why, for people.
    None(&'static str),
    /// This camera's, and the file in which they are saved, if there is one.
    Camera(String, Option<PathBuf>),
}

/// Answers relays.
#[derive(Debug)]
pub(crate) struct RemoteControls {
    target: Mutex<Target>,
    is_busy: AtomicBool,
    log: Mutex<LogLimiter>,
}

impl RemoteControls {
    pub(crate) fn new(target: Target) -> Arc<Self> {
        Arc::new(Self {
            target: Mutex::new(target),
            is_busy: AtomicBool::new(false),
            log: Mutex::default(),
        })
    }

    /// Of another camera from now on.
    pub(crate) fn set_target(&self, target: Target) {
        *self.target.lock() = target;
    }

    fn note(&self, request: &ControlRequest) {
        if request.set.is_empty() {
            return;
        }
        if let Some(count) = self.log.lock().note(clock::now()) {
            let ControlRequest { by, save, .. } = request;
            let set: Vec<_> = request
                .set
                .iter()
                .map(|set| format!("{}={}", set.name, set.value))
                .collect();
            tracing::info!(
                count,
                by,
                save,
                set = set.join(" "),
                "a relay sets controls"
            );
        }
    }
}

impl ControlHandler for RemoteControls {
    fn request(self: Arc<Self>, request: ControlRequest, reply: ControlReply) {
        let number = request.request;
        let refuse = move |why: &str| ControlAnswer {
            request: number,
            refusal: why.to_owned(),
            ..ControlAnswer::default()
        };
        let (device, file) = match self.target.lock().clone() {
            Target::None(why) => return reply(refuse(why)),
            Target::Camera(device, file) => (device, file),
        };
        if self.is_busy.swap(true, Ordering::Acquire) {
            return reply(refuse("the camera is busy with another request: try again"));
        }

        self.note(&request);
        let this = Arc::clone(&self);
        let work = move || {
            let answer =
                carry_out(&device, file.as_deref(), request).unwrap_or_else(|why| refuse(&why));
            this.is_busy.store(false, Ordering::Release);
            reply(answer);
        };
        let thread = std::thread::Builder::new().name("controls".to_owned());
        if let Err(error) = thread.spawn(work) {
            self.is_busy.store(false, Ordering::Release);
            tracing::error!("a relay gets no answer about controls: {error}");
        }
    }
}

fn carry_out(
    device: &str,
    file: Option<&Path>,
    request: ControlRequest,
) -> Result<ControlAnswer, String> {
    if request.save && file.is_none() {
        return Err("this source has no controls_file to save them in".to_owned());
    }

    let wanted: BTreeMap<_, _> = request
        .set
        .into_iter()
        .map(|set| (set.name, set.value))
        .collect();
    let (_, controls) = v4l::controls(device, &wanted, file.filter(|_| request.save))
        .map_err(|error| error.to_string())?;
    Ok(ControlAnswer {
        request: request.request,
        refusal: String::new(),
        controls,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use fanlight_proto::message::ControlValue;

    use super::*;

    fn answer(controls: &Arc<RemoteControls>, save: bool) -> ControlAnswer {
        let (sender, answer) = channel();
        let set = vec![ControlValue {
            name: "brightness".into(),
            value: 1,
        }];
        let request = ControlRequest {
            request: 7,
            set,
            save,
            ..ControlRequest::default()
        };
        let reply = move |answer| sender.send(answer).unwrap();
        Arc::clone(controls).request(request, Box::new(reply));
        answer.recv().unwrap()
    }

    #[test]
    fn what_cannot_be_done_is_refused_in_words_and_the_next_request_is_taken() {
        let controls = RemoteControls::new(Target::None("remote_controls is off"));
        let refused = answer(&controls, false);
        assert_eq!(
            (refused.request, refused.refusal.as_str()),
            (7, "remote_controls is off")
        );

        controls.set_target(Target::Camera("/nowhere/video0".into(), None));
        let words = "camera unplugged: /nowhere/video0";
        assert_eq!(answer(&controls, false).refusal, words);
        assert!(answer(&controls, true).refusal.contains("controls_file"));
        assert_eq!(answer(&controls, false).refusal, words);
    }

    #[test]
    fn while_the_driver_is_asked_another_request_is_refused() {
        let controls = RemoteControls::new(Target::Camera("/nowhere/video0".into(), None));
        controls.is_busy.store(true, Ordering::Release);
        assert!(answer(&controls, false).refusal.contains("busy"));
    }
}
