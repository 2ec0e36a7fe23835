//! Scaling for a screen beside its formula.

use fanlight_pixels::{Part, Place, Scaler};

/// The mixture of the four pixels around a point.
fn formula(from: &[u8], size: (u32, u32), (x, y): (f64, f64), byte: usize) -> f64 {
    let along = |point: f64, most: u32| {
        let point = point.clamp(0.0, f64::from(most - 1));
        let first = point as usize;
        let next = (first + 1).min(most as usize - 1);
        [(first, 1.0 - point.fract()), (next, point.fract())]
    };

    let mut sum = 0.0;
    for (row, down) in along(y, size.1) {
        for (column, across) in along(x, size.0) {
            let at = 4 * (row * size.0 as usize + column) + byte;
            sum += f64::from(from[at]) * down * across;
        }
    }
    sum
}

/// Scales `part` of a picture of noise to a place in the middle of a larger one, and compares each byte.
fn assert_as_the_formula_says(size: (u32, u32), part: [f64; 4], to: (u32, u32)) {
    let [left, top, width, height] = part;
    let noise = |at: u32| (at.wrapping_mul(2_654_435_761) >> 13) as u8;
    let from: Vec<u8> = (0..4 * size.0 * size.1).map(noise).collect();
    let whole = (to.0 + 5, to.1 + 3);
    let mut pixels = vec![9; (4 * whole.0 * whole.1) as usize];
    let part = Part {
        left,
        top,
        width,
        height,
    };
    let place = Place {
        left: 2,
        top: 1,
        size: to,
    };
    Scaler::default().rgbx(&from, size, part, &mut pixels, whole, place);

    for (at, byte) in pixels.iter().enumerate() {
        let (x, y) = (at as u32 / 4 % whole.0, at as u32 / 4 / whole.0);
        let is_in_place = (2..2 + to.0).contains(&x) && (1..=to.1).contains(&y);
        let expected = if is_in_place {
            let across = left + (f64::from(x - 2) + 0.5) * width / f64::from(to.0) - 0.5;
            let down = top + (f64::from(y - 1) + 0.5) * height / f64::from(to.1) - 0.5;
            formula(&from, size, (across, down), at % 4)
        } else {
            9.0
        };
        let wrong = (f64::from(*byte) - expected).abs();
        assert!(
            wrong < 1.6,
            "{size:?} to {to:?}, {x} {y}: {byte} for {expected}"
        );
    }
}

#[test]
fn each_pixel_is_mixed_from_the_four_around_its_point_and_nothing_else_is_touched() {
    assert_as_the_formula_says((7, 5), [0.0, 0.0, 7.0, 5.0], (13, 9));
    assert_as_the_formula_says((20, 12), [0.0, 0.0, 20.0, 12.0], (13, 7));
    assert_as_the_formula_says((20, 12), [0.0, 0.0, 20.0, 12.0], (10, 30));
    assert_as_the_formula_says((20, 12), [3.5, 2.25, 11.0, 8.0], (33, 7));
    assert_as_the_formula_says((20, 12), [0.0, 0.0, 20.0, 12.0], (20, 12));
    assert_as_the_formula_says((2, 1), [0.0, 0.0, 2.0, 1.0], (5, 2));
    assert_as_the_formula_says((1, 1), [0.0, 0.0, 1.0, 1.0], (4, 3));
}

/// A pixel of what becomes smaller: the mean of those around it, by how near they are.
fn smoothed(from: &[u8], size: (u32, u32), channels: usize, to: (u32, u32), at: usize) -> f64 {
    let along = |at: usize, from: u32, to: u32| {
        let step = f64::from(from) / f64::from(to);
        let reach = step.max(1.0);
        let middle = ((at as f64 + 0.5) * step - 0.5).clamp(0.0, f64::from(from - 1));
        let near = (middle - reach).floor() as i64..=(middle + reach).ceil() as i64;
        let weights = near.map(|it| (it, (1.0 - (it as f64 - middle).abs() / reach).max(0.0)));
        let weights: Vec<_> = weights.collect();
        let sum: f64 = weights.iter().map(|it| it.1).sum();
        let inside = move |it: i64| it.clamp(0, i64::from(from) - 1) as usize;
        weights
            .into_iter()
            .map(move |(it, weight)| (inside(it), weight / sum))
    };

    let pixel = at / channels;
    let (x, y) = (pixel % to.0 as usize, pixel / to.0 as usize);
    let mut sum = 0.0;
    for (row, down) in along(y, size.1, to.1) {
        for (column, across) in along(x, size.0, to.0) {
            let at = (row * size.0 as usize + column) * channels + at % channels;
            sum += f64::from(from[at]) * down * across;
        }
    }
    sum
}

#[test]
fn a_pixel_of_what_becomes_smaller_is_the_mean_of_all_that_it_stands_for() {
    for (size, to) in [
        ((64, 36), (40, 20)),
        ((64, 36), (64, 36)),
        ((37, 53), (5, 7)),
        ((60, 3), (3, 40)),
        ((5, 1), (2, 1)),
        ((1, 1), (3, 2)),
    ] {
        for channels in [1, 3] {
            let noise = |at: u32| (at.wrapping_mul(2_654_435_761) >> 13) as u8;
            let from: Vec<u8> = (0..channels as u32 * size.0 * size.1).map(noise).collect();
            let mut pixels = vec![9; channels * (to.0 * to.1) as usize];
            if channels == 1 {
                Scaler::default().grey(&from, size, &mut pixels, to);
            } else {
                Scaler::default().rgb(&from, size, &mut pixels, to);
            }

            for (at, byte) in pixels.iter().enumerate() {
                let expected = smoothed(&from, size, channels, to, at);
                let wrong = (f64::from(*byte) - expected).abs();
                assert!(
                    wrong < 4.0,
                    "{size:?} to {to:?}, {channels}, {at}: {byte} for {expected}"
                );
            }
        }
    }
}
