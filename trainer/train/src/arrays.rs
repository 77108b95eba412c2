//! Named `f32` arrays in safetensors files.

use std::collections::{BTreeMap, HashMap};

use bytemuck::cast_slice;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

/// The shape and the values, row-major, of an array.
pub(crate) type Array = (Vec<usize>, Vec<f32>);

/// Arrays by name.
pub(crate) type Arrays = BTreeMap<String, Array>;

/// The bytes of a safetensors file with these arrays and metadata.
pub(crate) fn arrays_to_bytes(arrays: &Arrays, metadata: HashMap<String, String>) -> Result<Vec<u8>, String> {
    let mut views = Vec::with_capacity(arrays.len());
    for (name, (shape, values)) in arrays {
        let view = TensorView::new(Dtype::F32, shape.clone(), cast_slice(values)).map_err(|e| e.to_string())?;
        views.push((name.clone(), view));
    }
    safetensors::serialize(views, Some(metadata)).map_err(|e| e.to_string())
}

/// The arrays and the metadata of a safetensors file. All arrays must be `f32`.
pub(crate) fn arrays_from_bytes(bytes: &[u8]) -> Result<(Arrays, HashMap<String, String>), String> {
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|e| e.to_string())?;
    let file = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
    let mut arrays = BTreeMap::new();
    for (name, view) in file.tensors() {
        if view.dtype() != Dtype::F32 {
            return Err(format!("{name} is {:?}, expected F32", view.dtype()));
        }
        let values = view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        arrays.insert(name, (view.shape().to_vec(), values));
    }
    Ok((arrays, metadata.metadata().clone().unwrap_or_default()))
}
