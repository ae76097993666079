//! The service and the messages of Flight, as descriptors for gRPC reflection.
//!
//! arrow-flight has no descriptors of them. The tests compare every message with the bytes that its code writes.

use prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
    FileDescriptorSet, MethodDescriptorProto, OneofDescriptorProto, ServiceDescriptorProto,
    field_descriptor_proto::{Label, Type},
};

const FILE: &str = "Flight.proto";
const PACKAGE: &str = "arrow.flight.protocol";
const TIMESTAMP_FILE: &str = "google/protobuf/timestamp.proto";

/// The type of a field, and how often it occurs.
#[derive(Clone, Copy)]
enum Kind {
    One(Type),
    /// May be missing, and is then not zero.
    Maybe(Type),
    Many(Type),
    /// Of the type with this full name.
    Of(&'static str),
    ManyOf(&'static str),
    Enum(&'static str),
}

use Kind::{Enum, Many, ManyOf, Maybe, Of, One};
use Type::{Bool, Bytes, Double, Int32, Int64, String as Text, Uint64};

/// The name and the number of a field.
type Field = (&'static str, i32, Kind);

const DESCRIPTOR: &str = ".arrow.flight.protocol.FlightDescriptor";
const DESCRIPTOR_TYPE: &str = ".arrow.flight.protocol.FlightDescriptor.DescriptorType";
const ENDPOINT: &str = ".arrow.flight.protocol.FlightEndpoint";
const INFO: &str = ".arrow.flight.protocol.FlightInfo";
const LOCATION: &str = ".arrow.flight.protocol.Location";
const TICKET: &str = ".arrow.flight.protocol.Ticket";
const TIMESTAMP: &str = ".google.protobuf.Timestamp";

/// The messages of the service's methods, and those inside of them.
const MESSAGES: &[(&str, &[Field])] = &[
    ("HandshakeRequest", &[("protocol_version", 1, One(Uint64)), ("payload", 2, One(Bytes))]),
    ("HandshakeResponse", &[("protocol_version", 1, One(Uint64)), ("payload", 2, One(Bytes))]),
    ("Empty", &[]),
    ("Criteria", &[("expression", 1, One(Bytes))]),
    ("ActionType", &[("type", 1, One(Text)), ("description", 2, One(Text))]),
    ("Action", &[("type", 1, One(Text)), ("body", 2, One(Bytes))]),
    ("Result", &[("body", 1, One(Bytes))]),
    ("SchemaResult", &[("schema", 1, One(Bytes))]),
    ("FlightDescriptor", &[("type", 1, Enum(DESCRIPTOR_TYPE)), ("cmd", 2, One(Bytes)), ("path", 3, Many(Text))]),
    (
        "FlightInfo",
        &[
            ("schema", 1, One(Bytes)),
            ("flight_descriptor", 2, Of(DESCRIPTOR)),
            ("endpoint", 3, ManyOf(ENDPOINT)),
            ("total_records", 4, One(Int64)),
            ("total_bytes", 5, One(Int64)),
            ("ordered", 6, One(Bool)),
            ("app_metadata", 7, One(Bytes)),
        ],
    ),
    (
        "PollInfo",
        &[
            ("info", 1, Of(INFO)),
            ("flight_descriptor", 2, Of(DESCRIPTOR)),
            ("progress", 3, Maybe(Double)),
            ("expiration_time", 4, Of(TIMESTAMP)),
        ],
    ),
    (
        "FlightEndpoint",
        &[
            ("ticket", 1, Of(TICKET)),
            ("location", 2, ManyOf(LOCATION)),
            ("expiration_time", 3, Of(TIMESTAMP)),
            ("app_metadata", 4, One(Bytes)),
        ],
    ),
    ("Location", &[("uri", 1, One(Text))]),
    ("Ticket", &[("ticket", 1, One(Bytes))]),
    (
        "FlightData",
        &[
            ("flight_descriptor", 1, Of(DESCRIPTOR)),
            ("data_header", 2, One(Bytes)),
            ("app_metadata", 3, One(Bytes)),
            ("data_body", 1000, One(Bytes)),
        ],
    ),
    ("PutResult", &[("app_metadata", 1, One(Bytes))]),
];

/// How many messages each side sends.
#[derive(Clone, Copy)]
enum Calls {
    /// One request and one answer.
    Unary,
    /// One request and many answers.
    Answers,
    /// Many of both.
    Both,
}

/// The methods with their requests and answers.
const METHODS: &[(&str, &str, &str, Calls)] = &[
    ("Handshake", "HandshakeRequest", "HandshakeResponse", Calls::Both),
    ("ListFlights", "Criteria", "FlightInfo", Calls::Answers),
    ("GetFlightInfo", "FlightDescriptor", "FlightInfo", Calls::Unary),
    ("PollFlightInfo", "FlightDescriptor", "PollInfo", Calls::Unary),
    ("GetSchema", "FlightDescriptor", "SchemaResult", Calls::Unary),
    ("DoGet", "Ticket", "FlightData", Calls::Answers),
    ("DoPut", "FlightData", "PutResult", Calls::Both),
    ("DoExchange", "FlightData", "FlightData", Calls::Both),
    ("DoAction", "Action", "Result", Calls::Answers),
    ("ListActions", "Empty", "ActionType", Calls::Answers),
];

/// Both files: that of the service, and that of the timestamps in its messages.
pub(super) fn files() -> FileDescriptorSet {
    let flight = FileDescriptorProto {
        name: Some(FILE.into()),
        package: Some(PACKAGE.into()),
        dependency: vec![TIMESTAMP_FILE.into()],
        message_type: MESSAGES.iter().map(|(name, fields)| message(name, fields)).collect(),
        service: vec![service()],
        syntax: Some("proto3".into()),
        ..Default::default()
    };
    let timestamp = FileDescriptorProto {
        name: Some(TIMESTAMP_FILE.into()),
        package: Some("google.protobuf".into()),
        message_type: vec![message("Timestamp", &[("seconds", 1, One(Int64)), ("nanos", 2, One(Int32))])],
        syntax: Some("proto3".into()),
        ..Default::default()
    };
    FileDescriptorSet { file: vec![timestamp, flight] }
}

fn message(name: &str, fields: &[Field]) -> DescriptorProto {
    let mut message = DescriptorProto { name: Some(name.into()), ..Default::default() };
    for field in fields {
        let (name, number, kind) = *field;
        let (of, label, type_name) = match kind {
            One(of) | Maybe(of) => (of, Label::Optional, None),
            Many(of) => (of, Label::Repeated, None),
            Of(name) => (Type::Message, Label::Optional, Some(name)),
            ManyOf(name) => (Type::Message, Label::Repeated, Some(name)),
            Enum(name) => (Type::Enum, Label::Optional, Some(name)),
        };
        let mut field = FieldDescriptorProto {
            name: Some(name.into()),
            number: Some(number),
            label: Some(label.into()),
            r#type: Some(of.into()),
            type_name: type_name.map(Into::into),
            ..Default::default()
        };
        if matches!(kind, Maybe(_)) {
            // Proto3 describes such a field as the only one of a choice.
            field.oneof_index = i32::try_from(message.oneof_decl.len()).ok();
            field.proto3_optional = Some(true);
            message.oneof_decl.push(OneofDescriptorProto { name: Some(format!("_{name}")), options: None });
        }
        message.field.push(field);
    }
    if name == "FlightDescriptor" {
        message.enum_type.push(descriptor_type());
    }
    message
}

fn descriptor_type() -> EnumDescriptorProto {
    let value = |(name, number): (&str, i32)| EnumValueDescriptorProto {
        name: Some(name.into()),
        number: Some(number),
        options: None,
    };
    EnumDescriptorProto {
        name: Some("DescriptorType".into()),
        value: [("UNKNOWN", 0), ("PATH", 1), ("CMD", 2)].map(value).into(),
        ..Default::default()
    }
}

fn service() -> ServiceDescriptorProto {
    let method = |(name, request, answer, calls): &(&str, &str, &str, Calls)| MethodDescriptorProto {
        name: Some((*name).into()),
        input_type: Some(format!(".{PACKAGE}.{request}")),
        output_type: Some(format!(".{PACKAGE}.{answer}")),
        client_streaming: Some(matches!(calls, Calls::Both)),
        server_streaming: Some(!matches!(calls, Calls::Unary)),
        options: None,
    };
    ServiceDescriptorProto {
        name: Some("FlightService".into()),
        method: METHODS.iter().map(method).collect(),
        options: None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use arrow_flight as flight;
    use bytes::Buf;
    use prost::{
        Message,
        encoding::{DecodeContext, WireType, decode_key, skip_field},
    };

    use super::*;

    /// The number and wire type of each field in a message, with how often it occurs.
    fn found(mut bytes: &[u8]) -> BTreeMap<u32, (WireType, usize)> {
        let mut found = BTreeMap::new();
        while bytes.has_remaining() {
            let (number, wire) = decode_key(&mut bytes).unwrap();
            skip_field(wire, number, &mut bytes, DecodeContext::default()).unwrap();
            found.entry(number).or_insert((wire, 0)).1 += 1;
        }
        found
    }

    /// The same for a message with two values in each repeated field.
    fn described(name: &str) -> BTreeMap<u32, (WireType, usize)> {
        let files = files();
        let messages = files.file.iter().flat_map(|file| &file.message_type);
        let message = messages.into_iter().find(|message| message.name() == name).unwrap();
        let fields = message.field.iter().map(|field| {
            let wire = match field.r#type() {
                Type::Uint64 | Type::Int64 | Type::Int32 | Type::Bool | Type::Enum => WireType::Varint,
                Type::Double => WireType::SixtyFourBit,
                _ => WireType::LengthDelimited,
            };
            let count = if field.label() == Label::Repeated { 2 } else { 1 };
            (field.number() as u32, (wire, count))
        });
        fields.collect()
    }

    #[test]
    fn every_message_is_described_as_arrow_flight_writes_it() {
        let bytes = || bytes::Bytes::from_static(b"x");
        let time = || Some(prost_types::Timestamp { seconds: 1, nanos: 1 });
        let descriptor = flight::FlightDescriptor { r#type: 2, cmd: bytes(), path: vec!["a".into(), "b".into()] };
        let ticket = flight::Ticket { ticket: bytes() };
        let location = flight::Location { uri: "x".into() };
        let endpoint = flight::FlightEndpoint {
            ticket: Some(ticket.clone()),
            location: vec![location.clone(); 2],
            expiration_time: time(),
            app_metadata: bytes(),
        };
        let info = flight::FlightInfo {
            schema: bytes(),
            flight_descriptor: Some(descriptor.clone()),
            endpoint: vec![endpoint.clone(); 2],
            total_records: 1,
            total_bytes: 1,
            ordered: true,
            app_metadata: bytes(),
        };
        let poll = flight::PollInfo {
            info: Some(info.clone()),
            flight_descriptor: Some(descriptor.clone()),
            progress: Some(0.0),
            expiration_time: time(),
        };
        let data = flight::FlightData {
            flight_descriptor: Some(descriptor.clone()),
            data_header: bytes(),
            app_metadata: bytes(),
            data_body: bytes(),
        };
        let text = || "x".to_owned();
        let written: [(&str, Vec<u8>); 17] = [
            ("HandshakeRequest", flight::HandshakeRequest { protocol_version: 1, payload: bytes() }.encode_to_vec()),
            ("HandshakeResponse", flight::HandshakeResponse { protocol_version: 1, payload: bytes() }.encode_to_vec()),
            ("Empty", flight::Empty {}.encode_to_vec()),
            ("Criteria", flight::Criteria { expression: bytes() }.encode_to_vec()),
            ("ActionType", flight::ActionType { r#type: text(), description: text() }.encode_to_vec()),
            ("Action", flight::Action { r#type: text(), body: bytes() }.encode_to_vec()),
            ("Result", flight::Result { body: bytes() }.encode_to_vec()),
            ("SchemaResult", flight::SchemaResult { schema: bytes() }.encode_to_vec()),
            ("FlightDescriptor", descriptor.encode_to_vec()),
            ("FlightInfo", info.encode_to_vec()),
            ("PollInfo", poll.encode_to_vec()),
            ("FlightEndpoint", endpoint.encode_to_vec()),
            ("Location", location.encode_to_vec()),
            ("Ticket", ticket.encode_to_vec()),
            ("FlightData", data.encode_to_vec()),
            ("PutResult", flight::PutResult { app_metadata: bytes() }.encode_to_vec()),
            ("Timestamp", time().unwrap().encode_to_vec()),
        ];
        assert_eq!(written.len(), MESSAGES.len() + 1);
        for (name, bytes) in written {
            assert_eq!(described(name), found(&bytes), "{name}");
        }
    }
}
