//! Schemas that Arrow's writer does not write: some that the format does not allow, and fields that share a dictionary.

use arrow::ipc::{
    self, DecimalArgs, DictionaryEncodingArgs, FieldArgs, FixedSizeListArgs, IntArgs, MapArgs, MessageArgs,
    MessageHeader, MetadataVersion, SchemaArgs, Type,
};
use flatbuffers::{FlatBufferBuilder, UnionWIPOffset, WIPOffset};

/// A field, without a name.
struct Node {
    kind: Kind,
    dictionary: Option<i64>,
    children: Vec<Node>,
}

#[derive(Clone, Copy)]
enum Kind {
    Int(i32),
    Text,
    List,
    FixedSizeList(i32),
    Struct,
    Map,
    Runs,
    Decimal { width: i32, precision: i32, scale: i32 },
    Union,
}

type Builder<'a> = FlatBufferBuilder<'a>;

impl Kind {
    fn of(self, children: Vec<Node>) -> Node {
        Node { kind: self, dictionary: None, children }
    }

    fn leaf(self) -> Node {
        self.of(Vec::new())
    }

    fn write(self, builder: &mut Builder<'_>) -> (Type, WIPOffset<UnionWIPOffset>) {
        match self {
            Self::Int(width) => {
                let args = IntArgs { bitWidth: width, is_signed: true };
                (Type::Int, ipc::Int::create(builder, &args).as_union_value())
            }
            Self::Text => (Type::Utf8, ipc::Utf8::create(builder, &ipc::Utf8Args {}).as_union_value()),
            Self::List => (Type::List, ipc::List::create(builder, &ipc::ListArgs {}).as_union_value()),
            Self::FixedSizeList(size) => {
                let args = FixedSizeListArgs { listSize: size };
                (Type::FixedSizeList, ipc::FixedSizeList::create(builder, &args).as_union_value())
            }
            Self::Struct => (Type::Struct_, ipc::Struct_::create(builder, &ipc::Struct_Args {}).as_union_value()),
            Self::Map => (Type::Map, ipc::Map::create(builder, &MapArgs { keysSorted: false }).as_union_value()),
            Self::Runs => {
                let made = ipc::RunEndEncoded::create(builder, &ipc::RunEndEncodedArgs {});
                (Type::RunEndEncoded, made.as_union_value())
            }
            Self::Decimal { width, precision, scale } => {
                let args = DecimalArgs { precision, scale, bitWidth: width };
                (Type::Decimal, ipc::Decimal::create(builder, &args).as_union_value())
            }
            Self::Union => {
                let made = ipc::Union::create(builder, &ipc::UnionArgs::default());
                (Type::Union, made.as_union_value())
            }
        }
    }
}

impl Node {
    /// As the values of a dictionary with keys of 32 bits.
    fn in_dictionary(self, id: i64) -> Self {
        Self { dictionary: Some(id), ..self }
    }

    fn write<'a>(&self, builder: &mut Builder<'a>) -> WIPOffset<ipc::Field<'a>> {
        let children: Vec<_> = self.children.iter().map(|child| child.write(builder)).collect();
        let children = builder.create_vector(&children);
        let name = builder.create_string("f");
        let (type_type, type_) = self.kind.write(builder);
        let dictionary = self.dictionary.map(|id| {
            let key = ipc::Int::create(builder, &IntArgs { bitWidth: 32, is_signed: true });
            let args = DictionaryEncodingArgs { id, indexType: Some(key), ..DictionaryEncodingArgs::default() };
            ipc::DictionaryEncoding::create(builder, &args)
        });
        let args = FieldArgs {
            name: Some(name),
            // A map's keys, run ends and entries are never null.
            nullable: false,
            type_type,
            type_: Some(type_),
            dictionary,
            children: Some(children),
            ..FieldArgs::default()
        };
        ipc::Field::create(builder, &args)
    }
}

/// The flatbuffer of a schema message.
fn message(fields: &[Node]) -> Vec<u8> {
    let mut builder = FlatBufferBuilder::new();
    let fields: Vec<_> = fields.iter().map(|field| field.write(&mut builder)).collect();
    let fields = builder.create_vector(&fields);
    let schema = ipc::Schema::create(&mut builder, &SchemaArgs { fields: Some(fields), ..SchemaArgs::default() });
    let args = MessageArgs {
        version: MetadataVersion::V5,
        header_type: MessageHeader::Schema,
        header: Some(schema.as_union_value()),
        ..MessageArgs::default()
    };
    let message = ipc::Message::create(&mut builder, &args);
    builder.finish(message, None);
    builder.finished_data().to_vec()
}

/// A number in this many lists.
fn lists(depth: usize) -> Node {
    (0..depth).fold(Kind::Int(32).leaf(), |inside, _| Kind::List.of(vec![inside]))
}

/// Schemas with one field that the format does not allow.
#[must_use]
pub fn not_allowed() -> Vec<(&'static str, Vec<u8>)> {
    let (int, text) = (|| Kind::Int(32).leaf(), || Kind::Text.leaf());
    let structs = |children| Kind::Struct.of(children);
    let decimal = |width, precision, scale| Kind::Decimal { width, precision, scale }.leaf();
    let all = [
        ("list_of_negative_size", Kind::FixedSizeList(-1).of(vec![int()])),
        ("list_of_two_children", Kind::List.of(vec![int(), text()])),
        ("list_without_child", Kind::List.leaf()),
        ("map_of_three_fields", Kind::Map.of(vec![structs(vec![text(), int(), int()])])),
        ("map_of_one_field", Kind::Map.of(vec![structs(vec![text()])])),
        ("map_without_entries", Kind::Map.of(vec![text()])),
        ("runs_that_end_with_text", Kind::Runs.of(vec![text(), int()])),
        ("runs_of_8_bits", Kind::Runs.of(vec![Kind::Int(8).leaf(), int()])),
        ("decimal_too_precise", decimal(128, 39, 0)),
        ("decimal_narrow", decimal(32, 10, 0)),
        ("decimal_without_digits", decimal(64, 0, 0)),
        ("decimal_of_large_scale", decimal(128, 5, 6)),
        ("union_without_variants", Kind::Union.leaf()),
        ("too_deep", lists(65)),
    ];
    all.into_iter().map(|(name, node)| (name, message(&[node]))).collect()
}

/// Schemas that the format allows.
#[must_use]
pub fn allowed() -> Vec<(&'static str, Vec<u8>)> {
    // The second field has the dictionary of the first one, and the third one another.
    let shared =
        [Kind::Text.leaf().in_dictionary(7), Kind::Text.leaf().in_dictionary(7), Kind::Int(64).leaf().in_dictionary(8)];
    vec![("shared_dictionary", message(&shared)), ("deep", message(&[lists(64)]))]
}
