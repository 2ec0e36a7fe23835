//! Fits a circle to points, some of which are outliers.

/// A circle.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Circle {
    pub(super) x: f32,
    pub(super) y: f32,
    pub(super) radius: f32,
}

/// Fewer points tell no circle.
const MIN_POINTS: usize = 12;

/// Steps of the fit: each takes care of most of what is left, and of points that stray.
const STEPS: usize = 8;

impl Circle {
    /// The same in a picture `factor` times as large.
    pub(super) fn enlarged(self, factor: f32) -> Self {
        Self {
            x: self.x * factor,
            y: self.y * factor,
            radius: self.radius * factor,
        }
    }

    /// How far a point lies outside, negative inside.
    fn beyond(self, point: [f32; 2]) -> f32 {
        let across = point[0] - self.x;
        let down = point[1] - self.y;
        (across * across + down * down).sqrt() - self.radius
    }

    /// How far a point of its edge may lie from it.
    fn tolerance(self) -> f32 {
        0.6 + 0.01 * self.radius
    }
}

/// The points on the edge of `circle`.
pub(super) fn near(points: &[[f32; 2]], circle: Circle) -> impl Iterator<Item = &[f32; 2]> {
    points
        .iter()
        .filter(move |point| circle.beyond(**point).abs() <= circle.tolerance())
}

/// The circle on which most of the points lie, which are in their order around it.
pub(super) fn through(points: &[[f32; 2]]) -> Option<Circle> {
    let count = points.len();
    if count < MIN_POINTS {
        return None;
    }

    // Three points a third or a quarter apart, from every place: the same each time, and even with half of the points
    // wrong some of them are all right.
    let triples = (0..count).flat_map(|first| {
        [count / 3, count / 4]
            .map(|apart| [first, (first + apart) % count, (first + 2 * apart) % count])
    });

    let circles = triples.filter_map(|triple| around(triple.map(|at| points[at])));
    let hits = |circle: &Circle| near(points, *circle).count();
    let best = circles.max_by_key(hits)?;
    fitted(points, best)
}

/// The circle of least squares through the points near `start`; those that stray count less and less.
pub(super) fn fitted(points: &[[f32; 2]], start: Circle) -> Option<Circle> {
    let mut circle = start;
    for _ in 0..STEPS {
        let step = step(points, circle)?;
        circle = Circle {
            x: circle.x + step[0],
            y: circle.y + step[1],
            radius: circle.radius + step[2],
        };
    }

    let sound = [circle.x, circle.y, circle.radius]
        .iter()
        .all(|value| value.is_finite())
        && circle.radius > 0.0;

    (sound && near(points, circle).count() >= MIN_POINTS).then_some(circle)
}

/// One step of Gauss and Newton, weighted by Tukey's biweight.
fn step(points: &[[f32; 2]], circle: Circle) -> Option<[f32; 3]> {
    let reach = 2.5 * circle.tolerance();
    let mut matrix = [[0.0f64; 3]; 3];
    let mut vector = [0.0f64; 3];

    for &point in points {
        let beyond = circle.beyond(point);
        let weight = f64::from((1.0 - (beyond / reach).powi(2)).max(0.0).powi(2));
        let distance = beyond + circle.radius;

        if weight <= 0.0 || distance <= 0.0 {
            continue;
        }

        let slope = [
            f64::from((point[0] - circle.x) / distance),
            f64::from((point[1] - circle.y) / distance),
            1.0,
        ];

        for (row, value) in slope.iter().enumerate() {
            (0..3).for_each(|column| matrix[row][column] += weight * value * slope[column]);
            vector[row] += weight * value * f64::from(beyond);
        }
    }

    solved(matrix, vector).map(|step| step.map(|value| value as f32))
}

/// Cramer's rule.
fn solved(matrix: [[f64; 3]; 3], vector: [f64; 3]) -> Option<[f64; 3]> {
    let determinant = |m: [[f64; 3]; 3]| {
        m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1])
            - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
            + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0])
    };

    let all = determinant(matrix);
    let with = |column: usize| {
        let mut replaced = matrix;
        replaced
            .iter_mut()
            .zip(vector)
            .for_each(|(row, value)| row[column] = value);
        determinant(replaced) / all
    };

    (all.abs() > 1e-6).then(|| [with(0), with(1), with(2)])
}

/// The circle through three points; none when they are in line.
fn around([a, b, c]: [[f32; 2]; 3]) -> Option<Circle> {
    let bx = b[0] - a[0];
    let by = b[1] - a[1];
    let cx = c[0] - a[0];
    let cy = c[1] - a[1];
    let cross = 2.0 * (bx * cy - by * cx);

    if cross.abs() < 1e-3 {
        return None;
    }

    let b_square = bx * bx + by * by;
    let c_square = cx * cx + cy * cy;
    let x = (cy * b_square - by * c_square) / cross;
    let y = (bx * c_square - cx * b_square) / cross;
    Some(Circle {
        x: a[0] + x,
        y: a[1] + y,
        radius: x.hypot(y),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(circle: Circle, from: f32, to: f32) -> Vec<[f32; 2]> {
        let angle = |i: u8| from + (to - from) * f32::from(i) / 60.0;
        let x = circle.x;
        let y = circle.y;
        let radius = circle.radius;
        (0..60)
            .map(angle)
            .map(|angle| [x + radius * angle.cos(), y + radius * angle.sin()])
            .collect()
    }

    fn apart(a: Circle, b: Circle) -> f32 {
        (a.x - b.x)
            .hypot(a.y - b.y)
            .max((a.radius - b.radius).abs())
    }

    #[test]
    fn a_third_of_the_points_may_be_wrong() {
        let circle = Circle {
            x: 103.3,
            y: 57.8,
            radius: 19.4,
        };

        let mut points = points(circle, 0.0, 6.2);
        for (at, point) in points.iter_mut().enumerate().filter(|(at, _)| at % 3 == 0) {
            let outward = 1.2 + 0.1 * (at % 7) as f32;
            *point = [
                circle.x + outward * (point[0] - circle.x),
                circle.y + outward * (point[1] - circle.y),
            ];
        }

        assert!(apart(through(&points).unwrap(), circle) < 0.01);
    }

    #[test]
    fn half_an_arc_tells_the_circle() {
        let circle = Circle {
            x: -3.0,
            y: 40.0,
            radius: 25.0,
        };
        assert!(apart(through(&points(circle, -1.5, 1.5)).unwrap(), circle) < 0.01);
    }

    #[test]
    fn points_in_line_or_few_or_all_the_same_are_no_circle() {
        let line: Vec<_> = (0..60).map(|at| [at as f32, 3.0]).collect();
        assert_eq!(through(&line), None);
        assert_eq!(through(&[[1.0, 1.0]; 60]), None);
        assert_eq!(
            through(
                &points(
                    Circle {
                        radius: 9.0,
                        ..Circle::default()
                    },
                    0.0,
                    6.0
                )[..11]
            ),
            None
        );
    }
}
