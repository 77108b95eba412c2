use candle_core::{DType, Device, Tensor};

use crate::layers::Params;
use crate::layers::conv::{Body, ConvRecipe, Layer};
use crate::nn::{Activation, Rng};

const CPU: Device = Device::Cpu;

fn body(image: [usize; 2], channels: &[usize], kernel: usize, stride: usize) -> Body {
    let conv = ConvRecipe { channels: channels.to_vec(), kernel, stride };
    Body { input: image[0] * image[1], conv: Some((image, conv)), hidden: vec![10], activation: Activation::Tanh }
}

fn params(dtype: DType) -> Params {
    Params::new(1, &CPU, dtype).unwrap()
}

#[test]
fn a_decoder_mirrors_its_encoder() {
    for (image, channels, kernel, stride, images) in [
        ([28, 28], &[16, 32][..], 4, 2, vec![14, 7]),
        ([28, 28], &[4, 5, 6], 3, 2, vec![14, 7, 4]),
        ([8, 8], &[4, 8], 5, 2, vec![4, 2]),
        ([9, 9], &[3], 3, 1, vec![9]),
        ([9, 9], &[3, 2], 3, 3, vec![3, 1]),
    ] {
        let body = body(image, channels, kernel, stride);
        let mut params = params(DType::F32);
        let encoder = body.encoder(&mut params, "encoder").unwrap();
        let decoder = body.decoder(&mut params, "decoder", 3).unwrap();
        let head = body.head(&mut params, "head", &decoder).unwrap();
        let sides: Vec<usize> = encoder
            .layers
            .iter()
            .filter_map(|layer| match layer {
                Layer::Conv(conv) => Some(conv.output[0]),
                Layer::Dense(_) => None,
            })
            .collect();
        assert_eq!(sides, images);
        assert_eq!((encoder.out, head.out(), head.inp()), (10, image[0] * image[1], decoder.out));
        assert_eq!(decoder.layers.len(), 1 + channels.len());
        let x = Rng::new(2).normal((3, body.input), DType::F32, &CPU).unwrap();
        assert_eq!(encoder.apply(&params, &x).unwrap().dims(), [3, 10]);
        let z = Rng::new(3).normal((5, 3), DType::F32, &CPU).unwrap();
        let h = decoder.apply(&params, &z).unwrap();
        assert_eq!(head.apply(&params, &h, Activation::Identity).unwrap().dims(), [5, image[0] * image[1]]);
    }
}

#[test]
fn without_convolutions_names_and_draws_are_those_of_an_mlp() {
    let body = Body { input: 12, conv: None, hidden: vec![9, 7], activation: Activation::Relu };
    let (mut ours, mut plain) = (params(DType::F32), params(DType::F32));
    let encoder = body.encoder(&mut ours, "encoder").unwrap();
    plain.mlp("encoder", 12, &[9, 7], Activation::Relu).unwrap();
    let decoder = body.decoder(&mut ours, "decoder", 3).unwrap();
    plain.mlp("decoder", 3, &[7, 9], Activation::Relu).unwrap();
    body.head(&mut ours, "head", &decoder).unwrap();
    plain.dense("head", 9, 12).unwrap();
    assert_eq!((encoder.out, decoder.out), (7, 9));
    for ((a, x), (b, y)) in ours.vars().iter().zip(plain.vars()) {
        let values = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!((a, values(x)), (b, values(y)));
    }
    assert_eq!(ours.vars().len(), plain.vars().len());
}

/// `<W x, g> = <x, W^T g>` for every kind of layer.
#[test]
fn adjoints_are_adjoint() {
    let body = body([8, 4], &[3, 2], 4, 2);
    let mut params = params(DType::F64);
    let encoder = body.encoder(&mut params, "encoder").unwrap();
    let decoder = body.decoder(&mut params, "decoder", 3).unwrap();
    let head = body.head(&mut params, "head", &decoder).unwrap();
    let mut rng = Rng::new(4);
    for layer in encoder.layers.iter().chain(&decoder.layers).chain([&head]) {
        let mut draw = |width| rng.normal((2, width), DType::F64, &CPU).unwrap();
        let (x, g) = (draw(layer.inp()), draw(layer.out()));
        let zero = params.get(layer.bias()).zeros_like().unwrap();
        let w = params.get(layer.weight());
        let y = layer.apply_with(&x, w, &zero, Activation::Identity).unwrap();
        let back = layer.adjoint(w, &g).unwrap();
        let dot = |a: &Tensor, b: &Tensor| a.mul(b).unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap();
        let (a, b) = (dot(&y, &g), dot(&x, &back));
        assert!((a - b).abs() < 1e-10 * (1.0 + a.abs()), "{layer:?}: {a} {b}");
    }
}

/// The matrices of the phases, applied to what the runtime gathers, give the layer: pixel values are small integers, so
/// that both are exact.
#[test]
fn matrices_of_phases_are_what_the_runtime_gathers_for() {
    for (image, kernel, stride) in [([8, 4], 4, 2), ([7, 7], 3, 2), ([9, 9], 5, 3)] {
        let body = body(image, &[2, 3], kernel, stride);
        let mut params = params(DType::F32);
        let encoder = body.encoder(&mut params, "encoder").unwrap();
        let decoder = body.decoder(&mut params, "decoder", 3).unwrap();
        let head = body.head(&mut params, "head", &decoder).unwrap();
        let convs = encoder.layers.iter().chain(&decoder.layers).chain([&head]).filter_map(|layer| match layer {
            Layer::Conv(conv) => Some((*layer, *conv)),
            Layer::Dense(_) => None,
        });
        for (layer, conv) in convs {
            let geometry = conv.geometry();
            assert!(geometry.is_valid(), "{geometry:?}");
            let (rows, cols) = geometry.output();
            assert_eq!([rows as usize, cols as usize], [conv.output[0], conv.output[1]]);
            let x: Vec<i16> = (0..layer.inp() as i16).map(|i| i * 7 % 11 - 5).collect();
            let (w, bias) = (params.values(layer.weight()).unwrap(), params.values(layer.bias()).unwrap());
            let matrices = conv.matrices(&w, &bias);
            assert_eq!(matrices.len(), geometry.phases() as usize);
            let mut got = vec![0.0f32; layer.out()];
            let up = u32::from(geometry.up);
            for (oy, ox) in (0..rows).flat_map(|oy| (0..cols).map(move |ox| (oy, ox))) {
                let phase = oy % up * up + ox % up;
                let matrix = &matrices[phase as usize];
                assert_eq!(matrix.inp, geometry.taps(phase) as usize * conv.input[2]);
                let mut patch = vec![0; matrix.inp];
                geometry.gather(&x, conv.input[2], phase, (oy / up, ox / up), &mut patch);
                for (o, row) in matrix.w.chunks(matrix.inp).enumerate() {
                    let sum: f32 = row.iter().zip(&patch).map(|(w, x)| w * f32::from(*x)).sum();
                    got[(oy * cols + ox) as usize * matrix.out + o] = matrix.b[o] + sum;
                }
            }
            let x = Tensor::from_vec(x.iter().map(|x| f32::from(*x)).collect(), (1, layer.inp()), &CPU).unwrap();
            let want: Vec<f32> =
                layer.apply(&params, &x, Activation::Identity).unwrap().flatten_all().unwrap().to_vec1().unwrap();
            assert!(got.iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-4), "{geometry:?}");
        }
    }
}

#[test]
fn images_that_do_not_fit_are_refused() {
    let mut params = params(DType::F32);
    let error = body([8, 8], &[2, 2, 2, 2, 2], 4, 2).encoder(&mut params, "e").unwrap_err().to_string();
    assert!(error.contains("conv.channels") && error.contains("1 by 1"), "{error}");
    let error = body([8, 7], &[2], 4, 2).decoder(&mut params, "d", 3).unwrap().out;
    assert_eq!(error, 4 * 3 * 2);
    let uneven = body([8, 7], &[2, 2], 4, 2);
    let decoder = uneven.decoder(&mut params, "u", 3);
    let head = decoder.and_then(|decoder| uneven.head(&mut params, "h", &decoder).map(|_| ()));
    assert!(head.unwrap_err().to_string().contains("conv.stride"));
    let wrong = Body { input: 60, ..body([8, 8], &[2], 4, 2) };
    assert!(wrong.encoder(&mut params, "w").is_err());
    for (recipe, field) in [
        (ConvRecipe { channels: vec![], ..ConvRecipe::default() }, "conv.channels"),
        (ConvRecipe { kernel: 1, ..ConvRecipe::default() }, "conv.kernel"),
        (ConvRecipe { stride: 0, ..ConvRecipe::default() }, "conv.stride"),
    ] {
        assert_eq!(recipe.out_of_range().unwrap().0, field);
    }
    assert_eq!(ConvRecipe::default().out_of_range(), None);
}
