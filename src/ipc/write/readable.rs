//! Refuses schemas that the encoder accepts, but no reader.

use std::sync::Arc;

use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use arrow_ipc::{
    root_as_message_with_opts,
    writer::{DictionaryTracker, EncodedData, IpcDataGenerator, IpcWriteOptions, StreamEncoder},
};

use crate::error::{Error, Result};
use crate::ipc::{footer::verifier, schema};

/// Checks that Arrow's writer accepts the schema: it refuses dictionaries inside the values of a dictionary.
pub(in crate::ipc) fn check_writable(schema: &SchemaRef, options: &IpcWriteOptions) -> Result<()> {
    let check = |schema: &Schema| StreamEncoder::try_new_with_options(schema, options.clone()).map(drop);
    let Err(error) = check(schema) else { return Ok(()) };
    let culprit = schema.fields().iter().find(|field| check(&Schema::new(vec![(*field).clone()])).is_err());
    let name = culprit.map_or("?", |field| field.name());
    Err(Error::unsupported(
        format_args!("column `{name}`, whose type Arrow IPC cannot encode ({error}),"),
        "cast dictionaries inside of other dictionaries to the type of their values",
    ))
}

/// Encodes the schema, and checks that it can be read back, before a byte of the frame is written. Costs microseconds for
/// each column.
pub(in crate::ipc) fn encode_schema(
    schema: &Schema,
    options: &IpcWriteOptions,
    tracker: &mut DictionaryTracker,
) -> Result<EncodedData> {
    let encode = |schema: &Schema, tracker: &mut DictionaryTracker| {
        IpcDataGenerator::default().schema_to_bytes_with_dictionary_tracker(schema, tracker, options)
    };
    let encoded = encode(schema, tracker);
    if is_readable(schema, &encoded) {
        return Ok(encoded);
    }
    let is_culprit = |field: &&FieldRef| {
        let alone = Schema::new(vec![Arc::clone(field)]);
        !is_readable(&alone, &encode(&alone, &mut DictionaryTracker::new(false)))
    };
    let culprit = schema.fields().iter().find(is_culprit);
    let name = culprit.map_or("?", |field| field.name());
    Err(Error::unsupported(
        format_args!("column `{name}`, whose type is not valid in an Arrow IPC file,"),
        "use units and precisions that the type allows, a scale of at most the precision, unions with variants, and types \
         that nest at most 64 deep",
    ))
}

fn is_readable(schema: &Schema, encoded: &EncodedData) -> bool {
    let bytes = &encoded.ipc_message;
    // With the limits of the reader.
    let message = root_as_message_with_opts(&verifier(bytes), bytes).ok();
    let found = message.and_then(|message| message.header_as_schema());
    let Some(Ok(read)) = found.map(|found| schema::read(found, "the schema")) else { return false };
    let mut fields = read.schema.fields().iter().zip(schema.fields());
    fields.all(|(read, field)| read.data_type().equals_datatype(field.data_type()))
}
