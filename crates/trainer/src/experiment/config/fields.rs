//! The keys that a table knows, asked from its `Deserialize` implementation.

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor, value};

/// The field names of a struct, as TOML spells them.
pub fn fields<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    let mut names: &'static [&'static str] = &[];
    // Always an error: the asking ends as soon as the struct has named its fields.
    let _ = T::deserialize(Ask { names: &mut names });
    names
}

struct Ask<'a> {
    names: &'a mut &'static [&'static str],
}

impl<'de> Deserializer<'de> for Ask<'_> {
    type Error = value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, value::Error> {
        Err(value::Error::custom("only a struct has field names"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, value::Error> {
        *self.names = fields;
        self.deserialize_any(visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::fields;
    use agents::{NetworkConfig, TrpoConfig};

    #[test]
    fn names_the_fields_of_a_struct_and_nothing_for_the_rest() {
        assert_eq!(
            fields::<NetworkConfig>(),
            ["hidden", "activation", "init", "log_std_init", "squash"]
        );
        assert!(fields::<TrpoConfig>().contains(&"max_kl"));
        assert!(fields::<f64>().is_empty());
    }
}
