//! The device's own controls: found by name or number, checked against their ranges, set in a working order.

use std::collections::BTreeMap;
use std::fmt;

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

/// Sets `wanted` on the device called `device_name`.
///
/// # Errors
/// A control that the device does not have, or a value out of its range; the message lists what there is.
pub(super) fn apply(
    device: &Device,
    device_name: &str,
    wanted: &BTreeMap<String, i64>,
) -> Result<(), CameraError> {
    if wanted.is_empty() {
        return Ok(());
    }

    let present = device
        .query_controls()
        .map_err(|error| failure(device_name, "list the controls of", &error))?;
    let settings = settings(&present, wanted)
        .map_err(|why| CameraError::Failed(format!("{device_name}: {why}")))?;
    for Setting { id, name, value } in settings {
        let doing = format!("set {name} of");
        device
            .set_control(Control { id, value })
            .map_err(|error| failure(device_name, &doing, &error))?;
    }

    Ok(())
}

/// A control as an operator reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlListing {
    /// As `controls` takes it.
    pub name: String,
    /// The value now; none: the driver does not tell.
    pub current: Option<i64>,
    /// What it takes.
    pub range: String,
    /// The value that the driver begins with.
    pub usual: i64,
    /// Another control, such as an automatic, has to be switched before it takes a value.
    pub is_inactive: bool,
}

impl fmt::Display for ControlListing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let current = self
            .current
            .map_or_else(|| "?".to_owned(), |value| value.to_string());
        let Self {
            name, range, usual, ..
        } = self;
        write!(f, "{name}={current}  {range}, usually {usual}")?;
        if self.is_inactive {
            f.write_str(", not in effect now")?;
        }
        Ok(())
    }
}

/// The controls of the device called `device_name` that can be set.
///
/// # Errors
/// When the driver does not list them.
pub(super) fn list(device: &Device, device_name: &str) -> Result<Vec<ControlListing>, CameraError> {
    let present = device
        .query_controls()
        .map_err(|error| failure(device_name, "list the controls of", &error))?;
    let listed = present.iter().filter(|control| settable(control));
    let listed = listed.map(|control| ControlListing {
        name: plain(&control.name),
        current: device.control(control.id).ok().as_ref().and_then(integer),
        range: range(control),
        usual: control.default,
        is_inactive: control.flags.contains(Flags::INACTIVE),
    });
    Ok(listed.collect())
}

fn integer(control: &Control) -> Option<i64> {
    match control.value {
        Value::Integer(value) => Some(value),
        Value::Boolean(value) => Some(value.into()),
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
                range(control)
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

fn range(control: &Description) -> String {
    match &control.items {
        Some(items) => items
            .iter()
            .map(|(index, item)| format!("{index} ({item})"))
            .collect::<Vec<_>>()
            .join(" "),
        None => format!("{} to {}", control.minimum, control.maximum),
    }
}

fn listing(present: &[&Description]) -> String {
    match present {
        [] => "none".into(),
        _ => present
            .iter()
            .map(|c| format!("{} {}", plain(&c.name), range(c)))
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
    fn a_listed_control_says_its_value_and_what_it_takes() {
        let focus = ControlListing {
            name: "focus_absolute".into(),
            current: Some(30),
            range: "0 to 250".into(),
            usual: 0,
            is_inactive: true,
        };
        assert_eq!(
            focus.to_string(),
            "focus_absolute=30  0 to 250, usually 0, not in effect now"
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
