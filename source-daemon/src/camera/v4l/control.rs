//! The device's own controls: found by name or number, checked against their ranges, set in a working order.

use std::collections::BTreeMap;

use fanlight_proto::message;
use v4l::Device;
use v4l::control::{Control, Description, Flags, MenuItem, Type, Value};

use super::{CameraError, failure};

/// One value to be set.
#[derive(Debug, PartialEq, Eq)]
struct Setting {
    id: u32,
    name: String,
    value: Value,
}

/// Sets `wanted` on the device called `device_name`, and returns it with the names that [`list`] has.
///
/// # Errors
/// A control that the device does not have, or a value out of its range; the message lists what there is.
pub(super) fn apply(
    device: &Device,
    device_name: &str,
    wanted: &BTreeMap<String, i64>,
) -> Result<BTreeMap<String, i64>, CameraError> {
    if wanted.is_empty() {
        return Ok(BTreeMap::new());
    }

    let settings = settings(&present(device, device_name)?, wanted)
        .map_err(|why| CameraError::Failed(format!("{device_name}: {why}")))?;
    let set = settings.into_iter().map(|setting| {
        let value = integer(&setting.value).unwrap_or_default();
        let name = setting.name.clone();
        set(device, device_name, setting)?;
        Ok((name, value))
    });
    set.collect()
}

/// Sets those of `saved` that the device called `device_name` takes. A saved value may be of another camera, or in the way
/// of another one: it is said and passed over.
pub(super) fn restore(device: &Device, device_name: &str, mut saved: BTreeMap<String, i64>) {
    let pass_over = |why: String| tracing::warn!("a saved control is passed over: {why}");
    let present = match present(device, device_name) {
        Ok(present) => present,
        Err(error) => return pass_over(error.to_string()),
    };

    saved.retain(|name, value| {
        let one = BTreeMap::from([(name.clone(), *value)]);
        settings(&present, &one).map_err(pass_over).is_ok()
    });
    for setting in settings(&present, &saved).unwrap_or_default() {
        if let Err(error) = set(device, device_name, setting) {
            pass_over(error.to_string());
        }
    }
}

/// The controls of the device called `device_name` that can be set.
///
/// # Errors
/// When the driver does not list them.
pub(super) fn list(
    device: &Device,
    device_name: &str,
) -> Result<Vec<message::Control>, CameraError> {
    let present = present(device, device_name)?;
    let listed = present.iter().filter(|control| settable(control));
    let listed = listed.map(|control| message::Control {
        value: device
            .control(control.id)
            .ok()
            .and_then(|now| integer(&now.value)),
        ..describe(control)
    });
    Ok(listed.collect())
}

/// What a control takes, for people.
pub(crate) fn range(control: &message::Control) -> String {
    if control.choices.is_empty() {
        return format!("{} to {}", control.minimum, control.maximum);
    }

    let choices = control.choices.iter();
    let choices: Vec<_> = choices
        .map(|choice| format!("{} ({})", choice.value, choice.name))
        .collect();
    choices.join(" ")
}

fn present(device: &Device, device_name: &str) -> Result<Vec<Description>, CameraError> {
    device
        .query_controls()
        .map_err(|error| failure(device_name, "list the controls of", &error))
}

fn set(device: &Device, device_name: &str, setting: Setting) -> Result<(), CameraError> {
    let Setting { id, name, value } = setting;
    let doing = format!("set {name} of");
    device
        .set_control(Control { id, value })
        .map_err(|error| failure(device_name, &doing, &error))
}

/// All but its value.
fn describe(control: &Description) -> message::Control {
    let choices = control.items.iter().flatten();
    message::Control {
        name: plain(&control.name),
        value: None,
        minimum: control.minimum,
        maximum: control.maximum,
        step: i64::try_from(control.step).unwrap_or(1),
        usual: control.default,
        inactive: control.flags.contains(Flags::INACTIVE),
        choices: choices
            .map(|(index, item)| message::ControlChoice {
                value: (*index).into(),
                name: item.to_string(),
            })
            .collect(),
    }
}

fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Integer(value) => Some(*value),
        Value::Boolean(value) => Some((*value).into()),
        _ => None,
    }
}

/// What to set, checked, with switches and menus first: most cameras refuse a manual value while its automatic is on.
fn settings(
    present: &[Description],
    wanted: &BTreeMap<String, i64>,
) -> Result<Vec<Setting>, String> {
    let present: Vec<&Description> = present.iter().filter(|control| settable(control)).collect();
    let mut found = Vec::new();

    for (key, &value) in wanted {
        let control = present
            .iter()
            .find(|control| Some(control.id) == number(key) || plain(&control.name) == plain(key))
            .ok_or_else(|| format!("no control {key:?}; there are {}", listing(&present)))?;

        if !takes(control, value) {
            return Err(format!(
                "{} takes {}, not {value}",
                plain(&control.name),
                range(&describe(control))
            ));
        }

        found.push((!is_switch(control), setting(control, value)));
    }

    found.sort_by_key(|(late, _)| *late);
    Ok(found.into_iter().map(|(_, setting)| setting).collect())
}

fn setting(control: &Description, value: i64) -> Setting {
    let value = match control.typ {
        Type::Boolean => Value::Boolean(value != 0),
        _ => Value::Integer(value),
    };

    Setting {
        id: control.id,
        name: plain(&control.name),
        value,
    }
}

/// The way `v4l2-ctl` writes names: "White Balance, Automatic" is `white_balance_automatic`.
fn plain(name: &str) -> String {
    let words = name
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    words
        .map(str::to_ascii_lowercase)
        .collect::<Vec<_>>()
        .join("_")
}

/// A V4L2 control number, decimal or as `0x00980900`.
fn number(key: &str) -> Option<u32> {
    match key.strip_prefix("0x").or_else(|| key.strip_prefix("0X")) {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => key.parse().ok(),
    }
}

fn settable(control: &Description) -> bool {
    let kind = matches!(
        control.typ,
        Type::Integer | Type::Integer64 | Type::Boolean | Type::Menu | Type::IntegerMenu
    );
    kind && !control.flags.intersects(Flags::DISABLED | Flags::READ_ONLY)
}

fn is_switch(control: &Description) -> bool {
    matches!(control.typ, Type::Boolean | Type::Menu)
}

fn takes(control: &Description, value: i64) -> bool {
    let listed =
        |items: &Vec<(u32, MenuItem)>| items.iter().any(|(index, _)| i64::from(*index) == value);
    (control.minimum..=control.maximum).contains(&value)
        && control.items.as_ref().is_none_or(listed)
}

fn listing(present: &[&Description]) -> String {
    match present {
        [] => "none".into(),
        _ => present
            .iter()
            .map(|c| format!("{} {}", plain(&c.name), range(&describe(c))))
            .collect::<Vec<_>>()
            .join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(id: u32, name: &str, typ: Type, minimum: i64, maximum: i64) -> Description {
        let (step, default, flags) = (1, minimum, Flags::empty());
        Description {
            id,
            typ,
            name: name.into(),
            minimum,
            maximum,
            step,
            default,
            flags,
            items: None,
        }
    }

    fn present() -> Vec<Description> {
        let exposure = Description {
            items: Some(vec![
                (1, MenuItem::Name("Manual".into())),
                (3, MenuItem::Name("Aperture".into())),
            ]),
            ..control(0x009a_0901, "Auto Exposure", Type::Menu, 0, 3)
        };

        vec![
            control(0x0098_0900, "Brightness", Type::Integer, 0, 255),
            control(0x0098_090c, "White Balance, Automatic", Type::Boolean, 0, 1),
            control(0x009a_0902, "Absolute Exposure", Type::Integer, 3, 2047),
            exposure,
            Description {
                flags: Flags::READ_ONLY,
                ..control(7, "Firmware", Type::Integer, 0, 9)
            },
            control(1, "User Controls", Type::CtrlClass, 0, 0),
        ]
    }

    fn resolve(wanted: &[(&str, i64)]) -> Result<Vec<(u32, Value)>, String> {
        let wanted = wanted
            .iter()
            .map(|(name, value)| ((*name).to_owned(), *value))
            .collect();

        Ok(settings(&present(), &wanted)?
            .into_iter()
            .map(|s| (s.id, s.value))
            .collect())
    }

    #[test]
    fn a_control_is_found_by_its_name_in_any_spelling_or_its_number() {
        for key in [
            "brightness",
            "Brightness",
            "BRIGHTNESS",
            "0x00980900",
            "9963776",
        ] {
            assert_eq!(
                resolve(&[(key, 7)]),
                Ok(vec![(0x0098_0900, Value::Integer(7))]),
                "{key}"
            );
        }

        for key in [
            "White Balance, Automatic",
            "white_balance_automatic",
            "white-balance-automatic",
        ] {
            assert_eq!(
                resolve(&[(key, 0)]),
                Ok(vec![(0x0098_090c, Value::Boolean(false))]),
                "{key}"
            );
        }
    }

    #[test]
    fn switches_are_set_before_the_values_that_they_free() {
        let order = resolve(&[
            ("absolute_exposure", 100),
            ("auto_exposure", 1),
            ("brightness", 1),
        ])
        .unwrap();

        assert_eq!(
            order.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
            [0x009a_0901, 0x009a_0902, 0x0098_0900]
        );
    }

    #[test]
    fn an_unknown_control_is_answered_with_the_list_of_those_there_are() {
        assert_eq!(
            resolve(&[("zoom", 1)]).unwrap_err(),
            "no control \"zoom\"; there are brightness 0 to 255, white_balance_automatic 0 to 1, \
             absolute_exposure 3 to 2047, auto_exposure 1 (Manual) 3 (Aperture)"
        );

        assert!(
            resolve(&[("firmware", 1)])
                .unwrap_err()
                .starts_with("no control")
        );
    }

    #[test]
    fn a_value_out_of_range_is_answered_with_the_range() {
        assert_eq!(
            resolve(&[("brightness", 256)]).unwrap_err(),
            "brightness takes 0 to 255, not 256"
        );

        assert_eq!(
            resolve(&[("auto_exposure", 2)]).unwrap_err(),
            "auto_exposure takes 1 (Manual) 3 (Aperture), not 2"
        );
    }
}
