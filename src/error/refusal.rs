//! Why a value's own `Serialize` failed. Postcard's errors drop the message, so the value is serialised once more, to
//! nothing, by a serializer whose error is the message.

use std::fmt::{self, Display};

use serde::{
    Serialize, Serializer,
    ser::{
        self, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
        SerializeTupleStruct, SerializeTupleVariant,
    },
};

/// The message of a value that does not serialise; `None` if it does, and the encoding failed.
#[cold]
pub(crate) fn refusal<T: Serialize + ?Sized>(value: &T) -> Option<String> {
    value.serialize(Nowhere).err().map(|message| message.0)
}

#[derive(Debug)]
struct Message(String);

impl Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Message {}

impl ser::Error for Message {
    fn custom<T: Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

/// Takes every value and keeps none.
struct Nowhere;

type Taken = Result<(), Message>;

macro_rules! take_scalars {
    ($($method:ident: $scalar:ty),*) => {
        $(fn $method(self, _: $scalar) -> Taken {
            Ok(())
        })*
    };
}

impl Serializer for Nowhere {
    type Ok = ();
    type Error = Message;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    take_scalars!(
        serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_i128: i128, serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64,
        serialize_u128: u128, serialize_f32: f32, serialize_f64: f64, serialize_char: char, serialize_str: &str,
        serialize_bytes: &[u8], serialize_unit_struct: &'static str
    );

    fn serialize_none(self) -> Taken {
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Taken {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Taken {
        Ok(())
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Taken {
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Taken {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Taken {
        value.serialize(self)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self, Message> {
        Ok(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, Message> {
        Ok(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, Message> {
        Ok(self)
    }

    fn serialize_tuple_variant(self, _: &'static str, _: u32, _: &'static str, _: usize) -> Result<Self, Message> {
        Ok(self)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self, Message> {
        Ok(self)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Message> {
        Ok(self)
    }

    fn serialize_struct_variant(self, _: &'static str, _: u32, _: &'static str, _: usize) -> Result<Self, Message> {
        Ok(self)
    }

    fn is_human_readable(&self) -> bool {
        // As postcard answers, so that the value takes the same way.
        false
    }
}

macro_rules! take_items {
    ($($kind:ident: $method:ident),*) => {
        $(impl $kind for Nowhere {
            type Ok = ();
            type Error = Message;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Taken {
                value.serialize(Nowhere)
            }

            fn end(self) -> Taken {
                Ok(())
            }
        })*
    };
}

take_items!(
    SerializeSeq: serialize_element, SerializeTuple: serialize_element, SerializeTupleStruct: serialize_field,
    SerializeTupleVariant: serialize_field
);

macro_rules! take_fields {
    ($($kind:ident),*) => {
        $(impl $kind for Nowhere {
            type Ok = ();
            type Error = Message;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, _: &'static str, value: &T) -> Taken {
                value.serialize(Nowhere)
            }

            fn end(self) -> Taken {
                Ok(())
            }
        })*
    };
}

take_fields!(SerializeStruct, SerializeStructVariant);

impl SerializeMap for Nowhere {
    type Ok = ();
    type Error = Message;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Taken {
        key.serialize(Self)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Taken {
        value.serialize(Self)
    }

    fn end(self) -> Taken {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::{Serialize, Serializer, ser::Error};

    use super::refusal;

    struct Unfit;

    impl Serialize for Unfit {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            assert!(!serializer.is_human_readable());
            Err(S::Error::custom("the rate is negative"))
        }
    }

    #[derive(Serialize)]
    struct Fields<T> {
        id: u32,
        rest: T,
    }

    #[derive(Serialize)]
    enum Variants<T> {
        Unit,
        Newtype(T),
        Tuple(u8, T),
        Struct { id: u8, rest: T },
    }

    #[test]
    fn the_message_is_found_however_deep_the_value_is() {
        let in_map = BTreeMap::from([(1, vec![(0_u8, Some(Unfit))])]);
        let found = [
            refusal(&Unfit),
            refusal(&Fields { id: 1, rest: in_map }),
            refusal(&Variants::Newtype(Box::new(Unfit))),
            refusal(&Variants::Tuple(1, [Unfit])),
            refusal(&Variants::Struct { id: 1, rest: Unfit }),
        ];
        for message in found {
            assert_eq!(message.as_deref(), Some("the rate is negative"));
        }
    }

    #[test]
    fn a_value_that_serialises_has_none() {
        let value = ((), true, -1_i8, 2_u64, 0.5_f32, 'x', "text", vec![1_u128], Some(Fields { id: 1, rest: "x" }));
        assert_eq!(refusal(&value), None);
        assert_eq!(refusal(&[Variants::Unit::<u8>, Variants::Newtype(1), Variants::Tuple(1, 2)]), None);
    }
}
