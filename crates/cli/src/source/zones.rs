//! Time zones of Parquet columns that were written in another unit than they had.
//!
//! Parquet records only whether a timestamp is in UTC. Its zone is in the Arrow schema that the writer attached, and
//! the reader takes it from there only if the unit is the same. Parquet has no seconds, and writers can be configured
//! to round.

use std::panic::catch_unwind;

use coframe::arrow::{
    datatypes::{DataType, Schema},
    ipc::convert::try_schema_from_ipc_buffer,
};
use parquet::{arrow::ARROW_SCHEMA_META_KEY, file::metadata::ParquetMetaData};

use super::leaves::{leaf_types, map_leaves};

/// Returns the schema with the zones that the writer's columns had.
pub(super) fn with_zones(schema: &Schema, metadata: &ParquetMetaData) -> Schema {
    let read = leaf_types(schema);
    let Some(written) = written(metadata).map(|written| leaf_types(&written)) else { return schema.clone() };
    if written.len() != read.len() {
        return schema.clone();
    }
    let mut written = written.into_iter();
    let fields = map_leaves(schema.fields(), &mut |field| match (field.data_type(), written.next()) {
        (DataType::Timestamp(unit, Some(_)), Some(DataType::Timestamp(_, Some(zone)))) => {
            field.clone().with_data_type(DataType::Timestamp(*unit, Some(zone)))
        }
        _ => field.clone(),
    });
    Schema::new_with_metadata(fields, schema.metadata().clone())
}

/// Returns the schema that the writer attached.
fn written(metadata: &ParquetMetaData) -> Option<Schema> {
    let attached = metadata.file_metadata().key_value_metadata()?;
    let text = attached.iter().find(|entry| entry.key == ARROW_SCHEMA_META_KEY)?.value.as_ref()?;
    let bytes = base64(text)?;
    // It panics on some damaged files. The reader of the file reports what it needs.
    catch_unwind(|| try_schema_from_ipc_buffer(&bytes).ok()).ok()?
}

fn base64(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut held, mut bits) = (Vec::with_capacity(text.len() / 4 * 3), 0_u32, 0_u32);
    for byte in text.bytes().take_while(|byte| *byte != b'=') {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        (held, bits) = ((held << 6 | u32::from(six)) & 0xFFF, bits + 6);
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
        }
    }
    Some(bytes)
}
