//! The outputs beside UDP. A new one is a crate and a line here; see `docs/adding-an-output.md`.

use fanlight_http::Http;
use fanlight_live::OutputServer;
use fanlight_mqtt::Mqtt;
use fanlight_publish::Publish;
use fanlight_rtsp::Rtsp;

use crate::StartError;
use crate::config::Config;
use crate::event_command::EventCommand;

/// Binds what the outputs of `config` need.
///
/// # Errors
/// When one cannot have its port, its keys or the like.
pub(crate) fn bind(config: &Config) -> Result<Vec<Box<dyn OutputServer>>, StartError> {
    let mut outputs: Vec<Box<dyn OutputServer>> = Vec::new();
    if let Some(http) = config.http_settings() {
        #[cfg(feature = "webrtc")]
        let http = with_webrtc(config, http, &mut outputs)?;
        outputs.push(Box::new(Http::bind(http)?));
    }
    if let Some(settings) = config.rtsp_settings() {
        outputs.push(Box::new(Rtsp::bind(&settings)?));
    }
    if let Some(settings) = config.publish_settings() {
        outputs.push(Box::new(Publish::bind(settings)?));
    }
    if let Some(settings) = config.mqtt_settings() {
        outputs.push(Box::new(Mqtt::bind(settings)?));
    }
    if !config.event_command.is_empty() {
        outputs.push(Box::new(EventCommand {
            command: config.event_command.clone(),
            relay: config.name(),
        }));
    }
    Ok(outputs)
}

/// Adds WebRTC where it is wanted; its requests come by HTTP.
#[cfg(feature = "webrtc")]
fn with_webrtc(
    config: &Config,
    http: fanlight_http::Settings,
    outputs: &mut Vec<Box<dyn OutputServer>>,
) -> Result<fanlight_http::Settings, StartError> {
    let Some(listen) = config.webrtc else {
        return Ok(http);
    };

    let settings = fanlight_webrtc::Settings {
        listen,
        addresses: config.webrtc_addresses.clone(),
        tcp: config.webrtc_tcp,
        signalling: config.webrtc_signalling,
    };
    let (webrtc, whep) = fanlight_webrtc::WebRtc::bind(settings)?;
    outputs.push(Box::new(webrtc));
    Ok(fanlight_http::Settings {
        whep: Some(whep),
        ..http
    })
}
