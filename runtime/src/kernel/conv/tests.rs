use super::*;
use crate::kernel::{Packing, pack_params, pack_weights};
use proptest::prelude::*;

const PACKINGS: [Packing; 2] = [Packing::RowMajor, Packing::Dsp4];

/// Aligned like an arena.
#[repr(align(8))]
struct Scratch([i16; 512]);

/// A convolution with its numbers. `weight(o, ky, kx, c)` and the other numbers are functions of their position.
#[derive(Clone, Copy, Debug)]
struct Case {
    geometry: ConvGeometry,
    inp: usize,
    out: usize,
}

fn mixed(salt: u32, index: usize) -> i32 {
    let h = (index as u32 ^ salt.wrapping_mul(0x9e37_79b9)).wrapping_mul(0x85eb_ca6b);
    ((h ^ h >> 15).wrapping_mul(0xc2b2_ae35) ^ h >> 3) as i32
}

impl Case {
    fn weight(self, o: usize, ky: usize, kx: usize, c: usize) -> i8 {
        (mixed(1, ((o * 16 + ky) * 16 + kx) * 16 + c) >> 20) as i8
    }

    fn activation(self, index: usize) -> i16 {
        (mixed(2, index) >> 9) as i16
    }

    fn bias(self, o: usize) -> i32 {
        mixed(3, o) >> 10
    }

    fn multiplier(self, o: usize) -> i32 {
        (mixed(4, o) & 0xff_ffff) + 1
    }

    /// The output by definition: a convolution as sums over its window, and a transposed one by adding the kernel of
    /// every input pixel to the output. It uses 64 bits, and no phases, patches or matrices.
    fn expected(self) -> (usize, usize, Vec<i16>) {
        let g = self.geometry;
        let [height, width] = [g.height, g.width].map(usize::from);
        let [kernel, stride, up, pad, extra] = [g.kernel, g.stride, g.up, g.pad, g.output_padding].map(usize::from);
        let side = |n: usize| match up {
            1 => (n + 2 * pad - kernel) / stride + 1,
            _ => (n - 1) * up + kernel + extra - 2 * pad,
        };
        let (rows, cols) = (side(height), side(width));
        let mut sums = vec![0i64; rows * cols * self.out];
        for (iy, ix, ky, kx) in (0..height * width * kernel * kernel)
            .map(|n| (n / kernel / kernel / width, n / kernel / kernel % width, n / kernel % kernel, n % kernel))
        {
            let reached = |i: usize, k: usize, outputs: usize| {
                let o = match up {
                    1 => (i + pad).checked_sub(k).filter(|o| o % stride == 0).map(|o| o / stride),
                    _ => (i * up + k).checked_sub(pad),
                };
                o.filter(|o| *o < outputs)
            };
            let (Some(oy), Some(ox)) = (reached(iy, ky, rows), reached(ix, kx, cols)) else { continue };
            for (o, c) in (0..self.out * self.inp).map(|n| (n / self.inp, n % self.inp)) {
                let x = self.activation((iy * width + ix) * self.inp + c);
                sums[(oy * cols + ox) * self.out + o] += i64::from(self.weight(o, ky, kx, c)) * i64::from(x);
            }
        }
        let finish = |(i, sum): (usize, &i64)| {
            let o = i % self.out;
            let scaled = (i128::from(sum + i64::from(self.bias(o))) * i128::from(self.multiplier(o)) + (1 << 31)) >> 32;
            scaled.clamp(-32768, 32767) as i16
        };
        (rows, cols, sums.iter().enumerate().map(finish).collect())
    }

    /// Weights and parameters of every phase, packed from the taps of its residue class.
    fn matrices(self, packing: Packing) -> Vec<(usize, Vec<u32>, Vec<u32>)> {
        let g = self.geometry;
        let (kernel, up, pad) = (usize::from(g.kernel), usize::from(g.up), usize::from(g.pad));
        let of_phase = |phase: usize| {
            let tap = |first: usize| (0..kernel).filter(move |k| (k + up * (pad + 1) - pad - first).is_multiple_of(up));
            let (py, px) = (phase / up, phase % up);
            let taps: Vec<_> = tap(py).flat_map(|ky| tap(px).map(move |kx| (ky, kx))).collect();
            assert_eq!(taps.len(), g.taps(phase as u32) as usize, "{self:?}");
            let cols = taps.len() * self.inp;
            let weight = |o: usize, col: usize| {
                let (ky, kx) = taps[col / self.inp];
                self.weight(o, ky, kx, col % self.inp)
            };
            let weights = pack_weights(self.out, cols, packing, weight).collect();
            let params = pack_params(self.out, |o| self.bias(o), |o| self.multiplier(o)).collect();
            (cols, weights, params)
        };
        (0..up * up).map(of_phase).collect()
    }

    fn run(self, packing: Packing, scratch: &mut [i16], out: &mut [i16]) -> u64 {
        let stored = self.matrices(packing);
        let pixels = usize::from(self.geometry.height) * usize::from(self.geometry.width);
        let x: Vec<i16> = (0..pixels * self.inp).map(|i| self.activation(i)).collect();
        let macs = std::cell::Cell::new(0);
        let matrix = |phase: usize| {
            let (cols, weights, params) = &stored[phase];
            let (up, (height, width)) = (usize::from(self.geometry.up), self.geometry.output());
            let pixels =
                (phase / up..height as usize).step_by(up).count() * (phase % up..width as usize).step_by(up).count();
            macs.set(macs.get() + (pixels * self.out * cols) as u64);
            Some(DenseMatrix { rows: self.out, cols: *cols, packing, weights, params })
        };
        conv(&x, self.geometry, matrix, scratch, out);
        macs.get()
    }

    fn check(self) {
        let (rows, cols, expected) = self.expected();
        let g = self.geometry;
        assert_eq!(g.output(), (rows as u32, cols as u32), "{self:?}");
        assert_eq!(g.output_len(self.out as u32), Some(expected.len() as u32));
        for packing in PACKINGS {
            let mut scratch = Scratch([0x5aa5; 512]);
            let needed = g.scratch_len(self.inp as u32, self.out as u32).unwrap() as usize;
            // One more element, which must not change.
            let mut out = vec![0x5aa5; expected.len() + 1];
            let macs = self.run(packing, &mut scratch.0[..needed], &mut out);
            assert_eq!(out.pop(), Some(0x5aa5), "{self:?}");
            assert_eq!(out, expected, "{self:?} {packing:?}");
            assert_eq!(macs, g.macs(self.inp as u32, self.out as u32), "{self:?}");
        }
    }
}

fn geometry(size: (u8, u8), kernel: u8, stride: u8, up: u8, pad: u8, output_padding: u8) -> ConvGeometry {
    ConvGeometry { height: size.0, width: size.1, kernel, stride, up, pad, output_padding }
}

#[test]
fn equals_the_textbook_for_every_small_geometry() {
    let mut cases = 0;
    for kernel in 1..=5 {
        for pad in 0..=3 {
            for (stride, up, extra) in [(1, 1, 0), (2, 1, 0), (3, 1, 0), (1, 2, 0), (1, 2, 1), (1, 3, 0), (1, 3, 2)] {
                for size in [(6, 5), (1, 4), (3, 3)] {
                    let g = geometry(size, kernel, stride, up, pad, extra);
                    if !g.is_valid() {
                        let smallest = u8::min(size.0, size.1);
                        let empty = match up {
                            1 => smallest + 2 * pad < kernel,
                            _ => (smallest - 1) * up + kernel + extra <= 2 * pad,
                        };
                        assert!(empty || kernel < up, "{g:?} is refused");
                        continue;
                    }
                    for (inp, out) in [(1, 1), (3, 2), (2, 5)] {
                        Case { geometry: g, inp, out }.check();
                        cases += 1;
                    }
                }
            }
        }
    }
    assert!(cases > 700, "{cases}");
}

#[test]
fn phases_split_the_taps_of_a_transposed_convolution() {
    let g = geometry((7, 7), 5, 1, 2, 2, 1);
    assert!(g.is_valid());
    assert_eq!((g.output(), g.phases()), ((14, 14), 4));
    assert_eq!([0, 1, 2, 3].map(|phase| g.taps(phase)), [9, 6, 6, 4]);
    assert_eq!(g.scratch_len(3, 2), Some(28 + 4));
    assert_eq!(g.macs(3, 2), 6 * 49 * 25);
}

/// A kernel that is narrower than the distance between pixels would leave holes.
#[test]
fn geometries_without_output_or_taps_are_refused() {
    let valid = geometry((8, 8), 4, 2, 1, 1, 0);
    assert!(valid.is_valid());
    for refused in [
        ConvGeometry { kernel: 2, stride: 1, up: 3, ..valid },
        ConvGeometry { up: 2, ..valid },
        ConvGeometry { stride: 0, ..valid },
        ConvGeometry { kernel: 16, pad: 15, ..valid },
        ConvGeometry { kernel: 11, ..valid },
        ConvGeometry { height: 0, ..valid },
        ConvGeometry { pad: 16, ..valid },
        ConvGeometry { output_padding: 1, ..valid },
        ConvGeometry { height: 1, stride: 1, up: 2, pad: 2, ..valid },
    ] {
        assert!(!refused.is_valid(), "{refused:?}");
    }
}

#[test]
fn what_is_short_or_missing_stays_unwritten() {
    let case = Case { geometry: geometry((4, 4), 4, 1, 2, 1, 0), inp: 2, out: 3 };
    let (_, _, expected) = case.expected();
    let needed = case.geometry.scratch_len(2, 3).unwrap() as usize;
    let mut scratch = Scratch([0; 512]);
    let mut out = vec![0x5aa5; expected.len()];
    case.run(Packing::Dsp4, &mut scratch.0[..needed - 1], &mut out);
    assert!(out.iter().all(|y| *y == 0x5aa5));
    out.truncate(expected.len() - 2);
    case.run(Packing::Dsp4, &mut scratch.0[..needed], &mut out);
    assert_eq!(out[..expected.len() - 3], expected[..expected.len() - 3]);
    assert_eq!(out[expected.len() - 3], 0x5aa5, "half a pixel is none");
    // Only phase 3 has a matrix, and its columns are not a multiple of its taps.
    let params = [0; 8];
    let odd = |phase| {
        (phase == 3).then_some(DenseMatrix {
            rows: 3,
            cols: 9,
            packing: Packing::RowMajor,
            weights: &[],
            params: &params,
        })
    };
    out.fill(0x5aa5);
    conv(&[0; 32], case.geometry, odd, &mut scratch.0, &mut out);
    assert!(out.iter().all(|y| *y == 0x5aa5));
}

proptest! {
    #[test]
    fn operands_are_geometries_and_back(imm: u32, param: i8) {
        prop_assert_eq!(ConvGeometry::unpack(imm, param).pack(), (imm, param));
    }

    /// Nothing panics for any contents of the flash.
    #[test]
    fn any_bits_are_total(imm: u32, param: i8, phase in 0u32..300, channels in 0u32..70_000, at: (u32, u32)) {
        let mut g = ConvGeometry::unpack(imm, param);
        let mut patch = [0; 40];
        g.gather(&[1; 30], channels as usize, phase, at, &mut patch);
        let _ = (g.is_valid(), g.output(), g.taps(phase), g.macs(channels, 3));
        let _ = (g.input_len(channels), g.output_len(channels), g.scratch_len(channels, channels));
        (g.height, g.width) = (g.height % 6, g.width % 6);
        let params = [0; 8];
        let matrix = |_| Some(DenseMatrix { rows: 2, cols: 8, packing: Packing::RowMajor, weights: &[1; 4], params: &params });
        conv(&[1; 30], g, matrix, &mut patch, &mut [0; 64]);
    }

    #[test]
    fn any_valid_geometry_equals_the_textbook(
        size in (1u8..8, 1u8..8), kernel in 1u8..7, step in 1u8..5, transposed: bool, pad in 0u8..4, extra in 0u8..4,
        inp in 1usize..5, out in 1usize..6,
    ) {
        let (stride, up) = if transposed { (1, step) } else { (step, 1) };
        let g = geometry(size, kernel, stride, up, pad, if up > 1 { extra % up } else { 0 });
        if g.is_valid() {
            Case { geometry: g, inp, out }.check();
        }
    }
}
