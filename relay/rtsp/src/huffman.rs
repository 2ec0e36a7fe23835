//! Writes the entropy-coded data of a baseline JPEG again with the Huffman tables of ITU-T T.81 Annex K, which RFC 2435
//! takes for granted. No coefficient changes: each symbol gets another code, the bits behind it are copied.

use crate::unsuitable::Unsuitable;

/// A Huffman table as DHT has it: how many codes there are of each length, and their symbols in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) counts: [u8; 16],
    pub(crate) symbols: Vec<u8>,
}

/// The tables of Annex K.3: those for luminance, those for chrominance; of each first DC, then AC.
pub(crate) fn annex_k() -> [[Table; 2]; 2] {
    let table = |counts, symbols: &[u8]| Table {
        counts,
        symbols: symbols.to_vec(),
    };
    let categories: Vec<u8> = (0..12).collect();

    [
        [
            table(
                [0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0],
                &categories,
            ),
            table(
                [0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 0x7d],
                &AC_LUMINANCE,
            ),
        ],
        [
            table(
                [0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0],
                &categories,
            ),
            table(
                [0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 0x77],
                &AC_CHROMINANCE,
            ),
        ],
    ]
}

#[rustfmt::skip]
const AC_LUMINANCE: [u8; 162] = [
    0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31, 0x41, 0x06, 0x13, 0x51, 0x61, 0x07,
    0x22, 0x71, 0x14, 0x32, 0x81, 0x91, 0xa1, 0x08, 0x23, 0x42, 0xb1, 0xc1, 0x15, 0x52, 0xd1, 0xf0,
    0x24, 0x33, 0x62, 0x72, 0x82, 0x09, 0x0a, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x25, 0x26, 0x27, 0x28,
    0x29, 0x2a, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49,
    0x4a, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5a, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69,
    0x6a, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7a, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89,
    0x8a, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7,
    0xa8, 0xa9, 0xaa, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xc2, 0xc3, 0xc4, 0xc5,
    0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xd9, 0xda, 0xe1, 0xe2,
    0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8,
    0xf9, 0xfa,
];

#[rustfmt::skip]
const AC_CHROMINANCE: [u8; 162] = [
    0x00, 0x01, 0x02, 0x03, 0x11, 0x04, 0x05, 0x21, 0x31, 0x06, 0x12, 0x41, 0x51, 0x07, 0x61, 0x71,
    0x13, 0x22, 0x32, 0x81, 0x08, 0x14, 0x42, 0x91, 0xa1, 0xb1, 0xc1, 0x09, 0x23, 0x33, 0x52, 0xf0,
    0x15, 0x62, 0x72, 0xd1, 0x0a, 0x16, 0x24, 0x34, 0xe1, 0x25, 0xf1, 0x17, 0x18, 0x19, 0x1a, 0x26,
    0x27, 0x28, 0x29, 0x2a, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48,
    0x49, 0x4a, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5a, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68,
    0x69, 0x6a, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7a, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87,
    0x88, 0x89, 0x8a, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0xa2, 0xa3, 0xa4, 0xa5,
    0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xc2, 0xc3,
    0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xd9, 0xda,
    0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8,
    0xf9, 0xfa,
];

impl Table {
    /// The symbols with their codes and the codes' lengths, in the order of T.81 Annex C.
    fn codes(&self) -> Result<Vec<(u8, u16, u8)>, Unsuitable> {
        let mut codes = Vec::with_capacity(self.symbols.len());
        let mut symbols = self.symbols.iter();
        let mut code = 0_u32;

        for (length, &count) in (1_u8..).zip(&self.counts) {
            for symbol in symbols.by_ref().take(count.into()) {
                let fits = u16::try_from(code).ok().filter(|_| code < 1 << length);
                codes.push((*symbol, fits.ok_or(Unsuitable::Damaged)?, length));
                code += 1;
            }
            code <<= 1;
        }
        Ok(codes)
    }
}

/// What the next 16 bits mean: symbol and length of its code; length 0 where there is no such code.
struct Decoder(Vec<(u8, u8)>);

impl Decoder {
    fn new(table: &Table) -> Result<Self, Unsuitable> {
        let mut meanings = vec![(0, 0); 1 << 16];
        for (symbol, code, length) in table.codes()? {
            let first = usize::from(code) << (16 - length);
            meanings[first..first + (1 << (16 - length))].fill((symbol, length));
        }
        Ok(Self(meanings))
    }
}

/// The code of each symbol, with its length; length 0 where a symbol has none.
struct Encoder([(u16, u8); 256]);

impl Encoder {
    fn new(table: &Table) -> Result<Self, Unsuitable> {
        let mut codes = [(0, 0); 256];
        for (symbol, code, length) in table.codes()? {
            codes[usize::from(symbol)] = (code, length);
        }
        Ok(Self(codes))
    }
}

/// One component of a scan.
#[derive(Debug)]
pub(crate) struct Component<'a> {
    /// Blocks in a minimum coded unit (MCU).
    pub(crate) blocks: usize,
    /// The tables that it was written with, DC and AC.
    pub(crate) from: [&'a Table; 2],
    /// The tables to write it with.
    pub(crate) to: &'a [Table; 2],
}

/// How one component is read and written.
struct Coder {
    blocks: usize,
    from: [Decoder; 2],
    to: [Encoder; 2],
}

/// Writes `scan` of `mcus` units again; it has a restart marker after every `restart_interval` of them, if that is not 0.
///
/// # Errors
/// [`Unsuitable::Damaged`] when it is not what its tables say.
pub(crate) fn transcode(
    scan: &[u8],
    mcus: usize,
    restart_interval: usize,
    components: &[Component<'_>],
) -> Result<Vec<u8>, Unsuitable> {
    let coder = |component: &Component<'_>| {
        Ok(Coder {
            blocks: component.blocks,
            from: [
                Decoder::new(component.from[0])?,
                Decoder::new(component.from[1])?,
            ],
            to: [
                Encoder::new(&component.to[0])?,
                Encoder::new(&component.to[1])?,
            ],
        })
    };
    let coders: Vec<Coder> = components.iter().map(coder).collect::<Result<_, _>>()?;

    let mut input = BitReader::new(scan);
    let mut output = BitWriter::default();
    for mcu in 0..mcus {
        if restart_interval > 0 && mcu > 0 && mcu % restart_interval == 0 {
            output.restart(input.restart()?);
        }

        for coder in &coders {
            for _ in 0..coder.blocks {
                coder.block(&mut input, &mut output)?;
            }
        }
    }

    output.align();
    Ok(output.bytes)
}

impl Coder {
    /// One block of 64 coefficients (T.81, F.1.2).
    fn block(&self, input: &mut BitReader<'_>, output: &mut BitWriter) -> Result<(), Unsuitable> {
        let category = copy_symbol(&self.from[0], &self.to[0], input, output)?;
        copy_bits(category, input, output)?;

        let mut place = 1;
        while place < 64 {
            let symbol = copy_symbol(&self.from[1], &self.to[1], input, output)?;
            let (run, size) = (symbol >> 4, symbol & 15);
            if size == 0 && run != 15 {
                break;
            }

            copy_bits(size, input, output)?;
            place += usize::from(run) + 1;
        }
        if place > 64 {
            return Err(Unsuitable::Damaged);
        }
        Ok(())
    }
}

fn copy_symbol(
    from: &Decoder,
    to: &Encoder,
    input: &mut BitReader<'_>,
    output: &mut BitWriter,
) -> Result<u8, Unsuitable> {
    let (symbol, length) = from.0[usize::from(input.peek())];
    let (code, new_length) = to.0[usize::from(symbol)];
    if length == 0 || new_length == 0 {
        return Err(Unsuitable::Damaged);
    }

    input.skip(length)?;
    output.put(code, new_length);
    Ok(symbol)
}

/// Copies at most 15 bits.
fn copy_bits(
    count: u8,
    input: &mut BitReader<'_>,
    output: &mut BitWriter,
) -> Result<(), Unsuitable> {
    if count > 0 {
        let bits = input.peek() >> (16 - count);
        input.skip(count)?;
        output.put(bits, count);
    }
    Ok(())
}

/// Reads bits, the first one highest, and takes out the zero bytes that stand behind each 0xff.
struct BitReader<'a> {
    rest: &'a [u8],
    /// The bits that come next, from the highest on.
    bits: u64,
    count: u8,
}

impl<'a> BitReader<'a> {
    const fn new(rest: &'a [u8]) -> Self {
        Self {
            rest,
            bits: 0,
            count: 0,
        }
    }

    /// The next 16 bits; zeros behind the end.
    fn peek(&mut self) -> u16 {
        while self.count <= 48 {
            let (byte, length) = match *self.rest {
                [0xff, 0, ..] => (0xff, 2),
                [byte, ..] if byte != 0xff => (byte, 1),
                _ => break,
            };
            self.rest = &self.rest[length..];
            self.bits |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
        (self.bits >> 48) as u16
    }

    fn skip(&mut self, count: u8) -> Result<(), Unsuitable> {
        self.count = self.count.checked_sub(count).ok_or(Unsuitable::Damaged)?;
        self.bits <<= count;
        Ok(())
    }

    /// Steps over a restart marker, which it gives.
    fn restart(&mut self) -> Result<u8, Unsuitable> {
        let ([0xff, marker @ 0xd0..=0xd7, rest @ ..], 0..=7) = (self.rest, self.count) else {
            return Err(Unsuitable::Damaged);
        };
        *self = Self::new(rest);
        Ok(*marker)
    }
}

/// Writes bits, the first one highest, with a zero byte behind each 0xff.
#[derive(Default)]
struct BitWriter {
    bytes: Vec<u8>,
    bits: u32,
    count: u8,
}

impl BitWriter {
    fn put(&mut self, bits: u16, count: u8) {
        self.bits = self.bits << count | u32::from(bits);
        self.count += count;

        while self.count >= 8 {
            self.count -= 8;
            let byte = (self.bits >> self.count) as u8;
            self.bytes.push(byte);
            if byte == 0xff {
                self.bytes.push(0);
            }
        }
    }

    /// Fills the last byte with ones.
    fn align(&mut self) {
        if self.count > 0 {
            let missing = 8 - self.count;
            self.put((1 << missing) - 1, missing);
        }
    }

    fn restart(&mut self, marker: u8) {
        self.align();
        self.bytes.extend([0xff, marker]);
    }
}
