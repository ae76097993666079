//! Constants that can replace the value of a function, from its return type.

use syn::{GenericArgument, Path, PathArguments, ReturnType, Type};

/// Expressions that a function may return instead of its value. Those that do not compile are dropped later.
pub(crate) fn of_return(output: &ReturnType) -> Vec<String> {
    match output {
        ReturnType::Default => vec!["()".to_owned()],
        ReturnType::Type(_, of) => of_type(of),
    }
}

fn of_type(of: &Type) -> Vec<String> {
    match of {
        Type::Path(path) => of_path(&path.path),
        Type::Reference(reference) => of_reference(&reference.elem),
        Type::Tuple(tuple) => {
            let mut values = vec![String::new()];
            for element in &tuple.elems {
                let element = of_type(element);
                values =
                    values.iter().flat_map(|head| element.iter().map(move |tail| format!("{head}{tail}, "))).collect();
            }
            values.into_iter().map(|inner| format!("({inner})")).collect()
        }
        // An opaque type is that of the whole body, and `!` has no value.
        _ => Vec::new(),
    }
}

fn of_reference(of: &Type) -> Vec<String> {
    match of {
        Type::Path(path) if path.path.is_ident("str") => vec!["\"\"".to_owned(), "\"xyzzy\"".to_owned()],
        Type::Slice(slice) => {
            let full = of_type(&slice.elem).into_iter().map(|value| format!("Vec::leak(vec![{value}])"));
            std::iter::once("&[]".to_owned()).chain(full).collect()
        }
        other => of_type(other).into_iter().map(|value| format!("Box::leak(Box::new({value}))")).collect(),
    }
}

fn of_path(path: &Path) -> Vec<String> {
    let Some(last) = path.segments.last() else { return Vec::new() };
    let name = last.ident.to_string();
    let inner = || first_argument(&last.arguments).map(of_type).unwrap_or_default();
    let wrapped = |around: &str| inner().into_iter().map(|value| format!("{around}({value})")).collect::<Vec<_>>();
    let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
    match name.as_str() {
        "bool" => texts(&["true", "false"]),
        "u8" | "u16" | "u32" | "u64" | "u128" | "usize" => texts(&["0", "1"]),
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => texts(&["0", "1", "-1"]),
        "f32" | "f64" => texts(&["0.0", "1.0", "-1.0"]),
        "String" => texts(&["String::new()", "\"xyzzy\".into()"]),
        "Result" => wrapped("Ok"),
        "Option" => [texts(&["None"]), wrapped("Some")].concat(),
        "Vec" => {
            let full = inner().into_iter().map(|value| format!("vec![{value}]"));
            std::iter::once("vec![]".to_owned()).chain(full).collect()
        }
        "Box" | "Arc" | "Rc" => wrapped(&format!("{name}::new")),
        _ => texts(&["Default::default()"]),
    }
}

fn first_argument(arguments: &PathArguments) -> Option<&Type> {
    let PathArguments::AngleBracketed(arguments) = arguments else { return None };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::Type(of) => Some(of),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::of_return;

    fn of(output: &str) -> Vec<String> {
        of_return(&syn::parse_str(output).unwrap())
    }

    #[test]
    fn the_constants_of_a_type_are_built_from_those_of_its_parts() {
        assert_eq!(of(""), ["()"]);
        assert_eq!(of("-> Result<Option<bool>>"), ["Ok(None)", "Ok(Some(true))", "Ok(Some(false))"]);
        assert_eq!(
            of("-> (u8, Vec<Name>)"),
            ["(0, vec![], )", "(0, vec![Default::default()], )", "(1, vec![], )", "(1, vec![Default::default()], )"]
        );
        assert_eq!(of("-> &[u8]"), ["&[]", "Vec::leak(vec![0])", "Vec::leak(vec![1])"]);
        assert!(of("-> impl Iterator<Item = u8>").is_empty() && of("-> !").is_empty());
    }
}
