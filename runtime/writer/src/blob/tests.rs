use super::*;
use crate::MatrixError;
use elbo::kernel::Packing;
use elbo::program::Opcode;
use elbo::{Calibrations, DataKind, Likelihood, Limits, LoadError, Model, Reading, SelfTest};

const LAYER: DenseLayer<'static> = DenseLayer {
    rows: 1,
    cols: 2,
    weights: &[3, -4],
    bias: &[5],
    multiplier: &[1 << 30],
    packing: Packing::RowMajor,
    input_bound: 4096,
};

fn meta(name: &str) -> Meta<'_> {
    Meta {
        name,
        family: "vae",
        likelihood: Likelihood::Gaussian,
        shape: [1, 1],
        latent: 2,
        classes: 0,
        monte_carlo_samples: 0,
        importance_samples: 0,
        feature_mean: &[],
        feature_std: &[],
        calibrations: Calibrations::default(),
        self_test: SelfTest { seed: 0, input: &[], digests: &[] },
    }
}

fn decoder(blob: &mut BlobWriter) -> Result<(), WriteError> {
    let matrix = blob.matrix(&LAYER)?;
    blob.program(ProgramKind::Decode, |p| {
        let z = p.input(2, 12, 4096)?;
        let y = p.dense(z, matrix, 10)?;
        p.outputs(&[y])
    })
}

#[test]
fn golden_blob() {
    let mut blob = BlobWriter::new();
    decoder(&mut blob).unwrap();
    let words = blob.finish();
    let header = [MAGIC, FORMAT_VERSION, 51, words[3], 8, 1, 2, 1, 1, 0, 9, 0];
    assert_eq!(words[..12], header);
    // The program: kind, its operation, its tensors, input and output, the work of a row of one word, two products.
    assert_eq!(words[12..24], [2, 0, 1, 0, 2, 0xFFFF_0000, 0xFFFF_0001, 0, 129, 0, 2, 0]);
    // z and y: type, scale and bound; length; place; lifetime.
    assert_eq!(words[24..32], [1 | 12 << 8 | 4096 << 16, 2, 0, 1 << 16, 1 | 10 << 8 | 7169 << 16, 1, 4, 1 | 2 << 16]);
    // A dense layer that writes tensor 1 from tensor 0 by matrix 0.
    assert_eq!(words[32..36], [1 | 1 << 16, 0xFFFF_0000, 0x0000_FFFF, 0]);
    assert_eq!(words[36..42], [1, 2, 0, 4096 | 7169 << 16, 0, 8]);
    assert_eq!(words[42..], [5, 0, 0, 0, 1 << 30, 0, 0, 0, u32::from_le_bytes([3, 252, 0, 0])]);
}

#[test]
fn metadata_of_any_length_are_padded_to_words() {
    for name in ["", "a", "ab", "abc", "abcd"] {
        let mut blob = BlobWriter::new();
        decoder(&mut blob).unwrap();
        blob.meta(&meta(name)).unwrap();
        let words = blob.finish();
        let model = Model::load(bytemuck::cast_slice(&words), Limits::host()).unwrap();
        assert_eq!(model.meta().map(|meta| (meta.name, meta.latent)), Ok((name, 2)));
    }
}

#[test]
fn how_rows_are_read_stands_behind_the_description() {
    let mut blob = BlobWriter::new();
    decoder(&mut blob).unwrap();
    blob.meta(&meta("m")).unwrap();
    let without = blob.finish();
    let model = Model::load(bytemuck::cast_slice(&without), Limits::host()).unwrap();
    assert_eq!(model.reading(), Ok(None));
    let reading = Reading {
        kind: DataKind::Table,
        white: 0.0,
        grey: false,
        limited: true,
        feature_mean_wide: &[],
        columns: "temp, C\0\0flow\0",
        units: "",
        dropped: "time\0",
        label: "",
        split: "",
        classes: "normal\0fault\0",
    };
    blob.reading(&encode_reading(&reading));
    let words = blob.finish();
    let model = Model::load(bytemuck::cast_slice(&words), Limits::host()).unwrap();
    assert_eq!((model.meta().map(|meta| meta.name), model.reading()), (Ok("m"), Ok(Some(reading))));
    let names = |list| Reading::names(list).collect::<Vec<_>>();
    assert_eq!((names(reading.columns), names(reading.label)), (vec!["temp, C", "", "flow"], vec![]));
    // What follows the description is decoded or refused.
    blob.meta(&meta("m")).unwrap();
    blob.reading(&[9, 9]);
    let words = blob.finish();
    let model = Model::load(bytemuck::cast_slice(&words), Limits::host()).unwrap();
    assert_eq!((model.meta().map(|meta| meta.name), model.reading()), (Ok("m"), Err(LoadError::Metadata)));
}

#[test]
fn changed_records_are_sealed_as_they_are() {
    let mut blob = BlobWriter::new();
    decoder(&mut blob).unwrap();
    blob.records_mut().programs[0].work += 1;
    let words = blob.finish();
    let refused = Model::load(bytemuck::cast_slice(&words), Limits::host()).err();
    assert_eq!(refused, Some(LoadError::Work { program: 0 }));
}

#[test]
fn programs_follow_each_other_and_share_the_largest_arena() {
    let mut blob = BlobWriter::new();
    decoder(&mut blob).unwrap();
    blob.program(ProgramKind::Score, |p| {
        let x = p.input(100, 12, 4096)?;
        let y = p.scalar(Opcode::HalfSumSq, &[x], 0)?;
        p.outputs(&[y])
    })
    .unwrap();
    let records = blob.records();
    let second = records.programs[1];
    assert_eq!((second.ops_start, second.tensors_start, records.arena_len), (1, 2, 104));
    let words = blob.finish();
    assert!(Model::load(bytemuck::cast_slice(&words), Limits::host()).is_ok());
}

#[test]
fn what_does_not_fit_is_refused_and_leaves_no_trace() {
    let mut blob = BlobWriter::new();
    decoder(&mut blob).unwrap();
    let before = blob.records().clone();
    let wrong = DenseLayer { multiplier: &[-1], ..LAYER };
    let error = WriteError::Matrix { matrix: 1, reason: MatrixError::Multiplier { row: 0 } };
    assert_eq!(blob.matrix(&wrong), Err(error));
    let many = |p: &mut ProgramWriter<'_>| {
        let x = p.input(1, 12, 1)?;
        for _ in 1..4095 {
            p.map_in_place(Opcode::Relu, &[x], 12, 0)?;
        }
        Ok(())
    };
    assert_eq!(blob.program(ProgramKind::Reconstruct, many), Err(WriteError::Records));
    assert_eq!(*blob.records(), before);
}
