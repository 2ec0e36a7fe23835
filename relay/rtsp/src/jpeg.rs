//! What RTP/JPEG (RFC 2435) needs of a JPEG, and which ones it cannot carry. Pictures are not decoded.

use bytes::Bytes;

use crate::huffman::{Component, Table, annex_k, transcode};
use crate::unsuitable::Unsuitable;

/// Longest side that the header of RFC 2435 can say, in pixels.
const MAX_SIDE: u16 = 2040;

/// A picture as RTP/JPEG carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Picture {
    /// RFC 2435, 3.1.3: 0 is 4:2:2, 1 is 4:2:0; with restart markers 64 more.
    pub(crate) kind: u8,
    /// Units of 8 pixels.
    pub(crate) width: u8,
    /// Units of 8 pixels.
    pub(crate) height: u8,
    /// MCUs between restart markers, when there are any.
    pub(crate) restart_interval: u16,
    /// Quantization of luminance and chrominance, in zigzag order.
    pub(crate) quantization: [[u8; 64]; 2],
    /// The entropy-coded data, without EOI.
    pub(crate) scan: Bytes,
}

/// What the segments before the scan said.
#[derive(Default)]
struct Headers {
    quantization: [Option<[u8; 64]>; 4],
    /// DC and AC tables.
    huffman: [[Option<Table>; 4]; 2],
    restart_interval: u16,
    size: Option<(u16, u16)>,
    /// Identifier, sampling and quantization table of each component.
    components: Vec<[u8; 3]>,
    rgb: bool,
}

impl Picture {
    /// Reads `jpeg`. Where its Huffman tables are not those of Annex K, its scan is written again with them.
    ///
    /// # Errors
    /// When RTP/JPEG cannot carry it.
    pub(crate) fn parse(jpeg: &Bytes) -> Result<Self, Unsuitable> {
        let mut headers = Headers::default();
        let mut rest = jpeg
            .strip_prefix(&[0xff, 0xd8])
            .ok_or(Unsuitable::Damaged)?;

        loop {
            let (marker, segment, behind) = next_segment(rest)?;
            rest = behind;
            if marker == 0xda {
                let scan = jpeg.slice_ref(&rest[..scan_length(rest)?]);
                return headers.finish(segment, scan);
            }
            headers.read(marker, segment)?;
        }
    }
}

/// The marker at the start of `bytes`, its segment, and what stands behind.
fn next_segment(bytes: &[u8]) -> Result<(u8, &[u8], &[u8]), Unsuitable> {
    let [0xff, rest @ ..] = bytes else {
        return Err(Unsuitable::Damaged);
    };
    let fill = rest.iter().take_while(|byte| **byte == 0xff).count();
    let [marker, high, low, rest @ ..] = &rest[fill..] else {
        return Err(Unsuitable::Damaged);
    };

    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let length = length.checked_sub(2).ok_or(Unsuitable::Damaged)?;
    let (segment, behind) = rest.split_at_checked(length).ok_or(Unsuitable::Damaged)?;
    Ok((*marker, segment, behind))
}

/// Bytes until EOI, which must be the first marker but for restarts.
fn scan_length(bytes: &[u8]) -> Result<usize, Unsuitable> {
    let mut place = 0;
    while let Some(found) = bytes[place..].iter().position(|byte| *byte == 0xff) {
        place += found;
        match bytes.get(place + 1) {
            Some(0 | 0xd0..=0xd7) => place += 2,
            Some(0xff) => place += 1,
            Some(0xd9) => return Ok(place),
            Some(_) => return Err(Unsuitable::Scans),
            None => break,
        }
    }
    Err(Unsuitable::Damaged)
}

impl Headers {
    fn read(&mut self, marker: u8, segment: &[u8]) -> Result<(), Unsuitable> {
        match (marker, segment) {
            (0xc4, _) => self.read_huffman(segment),
            (0xdb, _) => self.read_quantization(segment),
            (0xdd, [high, low]) => {
                self.restart_interval = u16::from_be_bytes([*high, *low]);
                Ok(())
            }
            (0xee, [b'A', b'd', b'o', b'b', b'e', .., transform]) => {
                self.rgb = *transform == 0;
                Ok(())
            }
            (0xc0, _) => self.read_frame(segment),
            (0xc1..=0xcf, _) => Err(Unsuitable::NotBaseline),
            (0xdd, _) => Err(Unsuitable::Damaged),
            _ => Ok(()),
        }
    }

    /// DHT (T.81, B.2.4.2).
    fn read_huffman(&mut self, mut segment: &[u8]) -> Result<(), Unsuitable> {
        while let [head, rest @ ..] = segment {
            let (counts, rest) = rest.split_first_chunk::<16>().ok_or(Unsuitable::Damaged)?;
            let symbols = counts.iter().map(|count| usize::from(*count)).sum();
            let (symbols, rest) = rest.split_at_checked(symbols).ok_or(Unsuitable::Damaged)?;
            let class = self.huffman.get_mut(usize::from(head >> 4));
            let slot = class.and_then(|class| class.get_mut(usize::from(head & 15)));
            *slot.ok_or(Unsuitable::Damaged)? = Some(Table {
                counts: *counts,
                symbols: symbols.to_vec(),
            });
            segment = rest;
        }
        Ok(())
    }

    /// DQT (T.81, B.2.4.1).
    fn read_quantization(&mut self, mut segment: &[u8]) -> Result<(), Unsuitable> {
        while let [head, rest @ ..] = segment {
            if head >> 4 != 0 {
                return Err(Unsuitable::Quantization);
            }

            let (table, rest) = rest.split_first_chunk::<64>().ok_or(Unsuitable::Damaged)?;
            let slot = self.quantization.get_mut(usize::from(*head));
            *slot.ok_or(Unsuitable::Damaged)? = Some(*table);
            segment = rest;
        }
        Ok(())
    }

    /// SOF0 (T.81, B.2.2).
    fn read_frame(&mut self, segment: &[u8]) -> Result<(), Unsuitable> {
        let [precision, h1, h0, w1, w0, count, components @ ..] = segment else {
            return Err(Unsuitable::Damaged);
        };
        if *precision != 8 {
            return Err(Unsuitable::NotBaseline);
        }
        if components.len() != 3 * usize::from(*count) {
            return Err(Unsuitable::Damaged);
        }

        let size = (
            u16::from_be_bytes([*w1, *w0]),
            u16::from_be_bytes([*h1, *h0]),
        );
        self.size = Some(size);
        self.components = components.as_chunks::<3>().0.to_vec();
        Ok(())
    }

    /// The picture whose SOS segment is `header`.
    fn finish(&self, header: &[u8], scan: Bytes) -> Result<Picture, Unsuitable> {
        let (width, height) = self.size.ok_or(Unsuitable::Damaged)?;
        let [luma, cb, cr] = self.components.as_slice() else {
            return Err(Unsuitable::Sampling);
        };
        let kind = match (luma[1], cb[1], cr[1]) {
            (0x21, 0x11, 0x11) => 0,
            (0x22, 0x11, 0x11) => 1,
            _ => return Err(Unsuitable::Sampling),
        };

        if self.rgb || [luma[0], cb[0], cr[0]] == *b"RGB" {
            return Err(Unsuitable::Rgb);
        }
        if width > MAX_SIDE || height > MAX_SIDE {
            return Err(Unsuitable::TooLarge);
        }
        if width == 0 || height == 0 {
            return Err(Unsuitable::Damaged);
        }

        let table =
            |component: &[u8; 3]| self.quantization.get(usize::from(component[2]))?.as_ref();
        let tables = table(luma).zip(table(cb)).ok_or(Unsuitable::Damaged)?;
        if table(cr) != Some(tables.1) {
            return Err(Unsuitable::Quantization);
        }

        let mcu_height = if kind == 1 { 16 } else { 8 };
        let mcus = usize::from(width.div_ceil(16)) * usize::from(height.div_ceil(mcu_height));
        let eighths = |side: u16| u8::try_from(side.div_ceil(8)).map_err(|_| Unsuitable::TooLarge);
        Ok(Picture {
            kind: kind | if self.restart_interval > 0 { 64 } else { 0 },
            width: eighths(width)?,
            height: eighths(height)?,
            restart_interval: self.restart_interval,
            quantization: [*tables.0, *tables.1],
            scan: self.with_annex_k(header, scan, mcus)?,
        })
    }

    /// The scan, written with the tables of Annex K. A JPEG without a table means that of Annex K.
    fn with_annex_k(&self, header: &[u8], scan: Bytes, mcus: usize) -> Result<Bytes, Unsuitable> {
        let [3, y, y_tables, cb, cb_tables, cr, cr_tables, ..] = *header else {
            return Err(Unsuitable::Scans);
        };
        if [y, cb, cr]
            .iter()
            .ne(self.components.iter().map(|[id, ..]| id))
        {
            return Err(Unsuitable::Damaged);
        }

        let annex_k = annex_k();
        let table = |class: usize, number: u8| {
            let number = usize::from(number);
            let own = self.huffman[class].get(number).ok_or(Unsuitable::Damaged)?;
            let usual = annex_k.get(number).map(|tables| &tables[class]);
            own.as_ref().or(usual).ok_or(Unsuitable::Damaged)
        };
        let component = |place: usize, tables: u8| {
            let sampling = self.components[place][1];
            Ok(Component {
                blocks: usize::from((sampling >> 4) * (sampling & 15)),
                from: [table(0, tables >> 4)?, table(1, tables & 15)?],
                to: &annex_k[place.min(1)],
            })
        };

        let components = [
            component(0, y_tables)?,
            component(1, cb_tables)?,
            component(2, cr_tables)?,
        ];
        if components
            .iter()
            .all(|it| it.from == [&it.to[0], &it.to[1]])
        {
            return Ok(scan);
        }
        transcode(&scan, mcus, self.restart_interval.into(), &components).map(Bytes::from)
    }
}

#[cfg(test)]
mod tests;
