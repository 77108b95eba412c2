//! Convolutions: geometries, matrices and images that do not fit each other.

use crate::case::{Case, UP, matrix};
use crate::gives;
use elbo::bounds::OperandError as E;
use elbo::kernel::ConvGeometry;
use elbo::program::Opcode;

/// 3x3 pixels of two channels to 2x2 of three.
const DOWN: ConvGeometry = ConvGeometry { stride: 2, up: 1, ..UP };

#[test]
fn convolutions() {
    let conv = |expected, edit: &dyn Fn(&mut Case)| gives(Opcode::Conv, expected, edit);
    let shape = Err(E::Shape);
    conv(Err(E::Kind), &|case| _ = case.matrices.pop());
    conv(Err(E::Kind), &|case| case.op.arg = 1 << 15);
    conv(Err(E::Kind), &|case| case.op.arg = u16::MAX);
    // The second matrix in the first phase has two taps too many.
    conv(shape, &|case| case.op.arg = 1);
    conv(shape, &|case| case.matrices.swap(0, 3));
    for phase in 0..4 {
        conv(shape, &|case| case.matrices[phase].rows = 2);
        conv(shape, &|case| case.matrices[phase].cols += 1);
        conv(Err(E::Bound), &|case| case.matrices[phase].input_bound = 99);
        conv(Ok(55), &|case| case.matrices[phase].output_bound = 55);
    }
    conv(shape, &|case| case.inputs[2].len += 4);
    conv(shape, &|case| case.inputs[2].len -= 4);
    // Invalid geometries: no columns, no kernel, a stride together with an upsampling, a phase without a tap, no
    // output.
    let geometry = |edit: &dyn Fn(&mut ConvGeometry)| {
        conv(shape, &|case| {
            let mut geometry = UP;
            edit(&mut geometry);
            (case.op.imm, case.op.param) = geometry.pack();
        });
    };
    geometry(&|g| g.height = 0);
    geometry(&|g| g.width = 0);
    geometry(&|g| g.kernel = 0);
    geometry(&|g| g.stride = 0);
    geometry(&|g| g.stride = 2);
    geometry(&|g| g.up = 0);
    geometry(&|g| g.up = 4);
    geometry(&|g| g.pad = 15);
    geometry(&|g| g.output_padding = 2);
    geometry(&|g| g.output_padding = 255);
    // One more of anything makes another image.
    geometry(&|g| g.height = 4);
    geometry(&|g| g.width = 2);
    geometry(&|g| g.kernel = 4);
    geometry(&|g| g.pad = 0);
    geometry(&|g| g.output_padding = 1);

    let down = |case: &mut Case| {
        (case.op.imm, case.op.param) = DOWN.pack();
        case.matrices = vec![matrix(3, 18, 12)];
        (case.inputs[2].len, case.output.len) = (20 + 4, 2 * 2 * 3);
    };
    conv(Ok(12), &down);
    conv(shape, &|case| {
        down(case);
        case.op.param = 1;
    });
    // Numbers of channels that do not divide the image, and images that are too large for a tensor.
    conv(shape, &|case| {
        down(case);
        case.matrices[0].cols = 8;
    });
    for (rows, cols) in [(65536, 65536), (u32::MAX, u32::MAX), (3, 0), (0, 18)] {
        conv(shape, &|case| {
            down(case);
            case.matrices[0] = matrix(rows, cols, 12);
        });
    }
    let large = ConvGeometry { height: 255, width: 255, kernel: 1, stride: 1, up: 1, pad: 0, output_padding: 0 };
    conv(shape, &|case| {
        (case.op.imm, case.op.param) = large.pack();
        case.matrices = vec![matrix(65536, 65536, 12)];
        (case.inputs[0].len, case.inputs[2].len, case.output.len) = (65536, 2 << 16, 65536);
    });
}
