//! Finds a ball: where a bright disc is in a grey picture, to a fraction of a pixel.
//!
//! What it takes for a ball: a disc, evenly bright inside, brighter all around than what is behind it, with a sharp edge.
//! Its radius is from about a hundredth to a third of the picture's shorter side and at least [`MIN_RADIUS`] pixels; it
//! may lie partly outside. What is behind may have a pattern and noise, as long as the ball is brighter everywhere at its
//! edge; text may cross it. Colours play no role, nor does where the ball was before. Of several balls the clearest is found.
//!
//! It needs the picture's brightness alone, decoded once at full size: to decode it at a quarter first would cost 70 to 95 %
//! of that again (`viewer/examples/track_speed.rs`), as most of the work is reading the code.
//!
//! In a reduced picture every edge votes for the places that lie at its bright side (a centre gets the votes of its whole
//! circle, a straight edge spreads its own); around the places with most votes the edge is then measured at full size along
//! rays, and a circle laid through what they hit, from which few rays may stray.

mod circle;
mod rays;
#[cfg(test)]
mod tests;
mod votes;

use circle::Circle;
use votes::Votes;

use crate::grey::Grey;

/// Smallest radius found, in pixels: less of an edge is anything.
pub const MIN_RADIUS: f32 = 5.0;

/// The picture is reduced as long as this much of its shorter side is left, in pixels: enough for the votes.
const REDUCED_SIDE: usize = 120;

/// Of 100 rays to the visible edge, how many must meet it where the circle is: text across the ball hides some, while of a
/// square's edge 42 are as near to any circle and as upright to it.
const MIN_HITS_PERCENT: usize = 46;

/// Of 100 rays, how many must lie in the picture: of a smaller arc the centre cannot be told.
const MIN_VISIBLE_PERCENT: usize = 30;

/// Of 100 rays from a guess, how many must meet an edge at all for it to be worth a closer look.
const MIN_MET_PERCENT: usize = 25;

/// So clear a ball ends the search among the candidates.
const CLEAR: f32 = 0.92;

/// A ball in a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ball {
    /// Its centre in pixels from the upper left corner: the middle of the first pixel is at 0.5, 0.5.
    pub x: f32,
    /// As `x`, downwards.
    pub y: f32,
    /// In pixels.
    pub radius: f32,
    /// The part of the visible edge that was found where it should be, 0.46 to 1.
    pub confidence: f32,
}

/// Finds balls; holds memory that is used again for the next picture.
#[derive(Debug, Default)]
pub struct Finder {
    reduced: Grey,
    votes: Votes,
}

impl Finder {
    /// The ball in `picture`, if there is one. Depends on nothing but the picture.
    #[must_use]
    pub fn find(&mut self, picture: &Grey) -> Option<Ball> {
        let shorter = picture.width().min(picture.height());
        if (shorter as f32) < 2.0 * MIN_RADIUS {
            return None;
        }

        let factor = [8, 4, 2]
            .into_iter()
            .find(|factor| shorter / factor >= REDUCED_SIDE)
            .unwrap_or(1);

        picture.reduce(factor, &mut self.reduced);
        let mut best: Option<Ball> = None;

        for guess in self.votes.candidates(&self.reduced) {
            let Some(ball) = measured(picture, guess.enlarged(factor as f32), factor as f32) else {
                continue;
            };

            if best.is_none_or(|best| best.confidence < ball.confidence) {
                best = Some(ball);
            }

            if ball.confidence >= CLEAR {
                break;
            }
        }

        best
    }
}

/// The ball near `guess`, which is known to about `doubt` pixels.
fn measured(picture: &Grey, guess: Circle, doubt: f32) -> Option<Ball> {
    let wide = rays::cast(picture, guess, 1.5 * doubt + (0.3 * guess.radius).min(8.0));
    if wide.points.len() * 100 < rays::visible(picture, guess) * MIN_MET_PERCENT {
        return None;
    }

    let found = circle::through(&wide.points)?;
    let near = rays::cast(picture, found, 2.5 + 0.06 * found.radius);
    let found = circle::through(&near.points)?;
    let last = rays::cast(picture, found, 2.5);
    let found = circle::fitted(&last.points, found)?;
    let hits = circle::near(&last.points, found).count();
    let visible = rays::visible(picture, found);
    let shorter = picture.width().min(picture.height()) as f32;
    let whole = found.radius >= MIN_RADIUS
        && found.radius <= shorter / 2.0
        && visible * 100 >= rays::RAYS * MIN_VISIBLE_PERCENT
        && hits * 100 >= visible * MIN_HITS_PERCENT
        && rays::is_even_inside(picture, found, &last);

    whole.then(|| Ball {
        x: found.x,
        y: found.y,
        radius: found.radius,
        confidence: (hits as f32 / visible as f32).min(1.0),
    })
}
