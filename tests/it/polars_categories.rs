//! Categories of Polars: which numbering a frame has, and which a process gives it.

use coframe::{CopyPolicy, OpenOptions, polars::prelude::*};

use crate::{common::scratch, polars_types::named};

#[test]
fn categoricals_that_are_all_null_pass_verify() {
    let scratch = scratch();
    let nulls = Series::full_null("c".into(), 3, &named("of nulls"));
    scratch.store.publish("x", &DataFrame::new(3, vec![nulls.into_column()]).unwrap()).unwrap();
    scratch.store.verify("x").unwrap();
}

#[test]
fn two_columns_on_the_same_categories_keep_one_numbering() {
    let scratch = scratch();
    let dtype = named("two columns");
    let a = Series::new("a".into(), ["x", "y"]).cast(&dtype).unwrap();
    let b = Series::new("b".into(), ["z", "x"]).cast(&dtype).unwrap();
    let df = DataFrame::new(2, vec![a.into_column(), b.into_column()]).unwrap();
    let back = scratch.store.publish("two", &df).unwrap().to_polars().unwrap();
    let equal = back.column("a").unwrap().equal(back.column("b").unwrap()).unwrap();
    assert_eq!((equal.get(0), equal.get(1)), (Some(false), Some(false)));
    assert!(back.equals(&df));
}

#[test]
fn a_dtype_whose_mapping_is_not_that_of_its_categories_is_refused() {
    use std::sync::Arc;
    let scratch = scratch();
    let own = Series::new("a".into(), ["x", "y"]).cast(&named("stray")).unwrap();
    let categories = Categories::new("stray".into(), "tests".into(), CategoricalPhysical::U8);
    // Safe code can build such a dtype; a reader would look the keys of `b` up among the two categories of `a`.
    let mapping = Arc::new(CategoricalMapping::with_hasher(255, own.dtype().cat_mapping().unwrap().hasher().clone()));
    let stray = DataType::Categorical(categories, mapping);
    let other = Series::new("b".into(), ["p", "q", "r", "s"]).cast(&stray).unwrap().slice(2, 2);
    assert!(!Arc::ptr_eq(other.dtype().cat_mapping().unwrap(), own.dtype().cat_mapping().unwrap()));
    let df = DataFrame::new(2, vec![own.into_column(), other.into_column()]).unwrap();
    let error = scratch.store.publish("x", &df).unwrap_err();
    assert!(error.is_unsupported() && error.to_string().contains("not that of its categories"), "{error}");
    assert!(scratch.store.open("x").unwrap_err().is_not_found());
}

#[test]
fn a_process_that_numbers_categories_otherwise_rewrites_keys_or_takes_its_own() {
    let scratch = scratch();
    let frame = {
        let s = Series::new("c".into(), ["x", "y", "x"]).cast(&named("numbering")).unwrap();
        scratch.store.publish("c", &DataFrame::new(3, vec![s.into_column()]).unwrap()).unwrap()
    };
    // The categories of that name died with the series; this process now starts another one.
    let other = Series::new("o".into(), ["y"]).cast(&named("numbering")).unwrap();
    let explain = frame.copy_report().unwrap();
    assert!(explain.columns[0].reason.as_ref().unwrap().contains("numbers the categories differently"), "{explain}");
    let back = frame.to_polars().unwrap();
    assert_eq!(back.column("c").unwrap().dtype(), other.dtype());
    let text = back.column("c").unwrap().cast(&DataType::String).unwrap();
    assert!(text.equals(&Column::new("c".into(), ["x", "y", "x"])));

    let never = OpenOptions::new().copies(CopyPolicy::Never);
    let error = scratch.store.open_with("c", &never).unwrap().to_polars().unwrap_err();
    assert!(error.is_would_copy());
    assert!(error.to_string().starts_with("column `c` would be copied: this process numbers"), "{error}");

    let own = never.categories(coframe::CategoryPolicy::Private);
    let back = scratch.store.open_with("c", &own).unwrap().to_polars().unwrap();
    assert_ne!(back.column("c").unwrap().dtype(), other.dtype());
    let text = back.column("c").unwrap().cast(&DataType::String).unwrap();
    assert!(text.equals(&Column::new("c".into(), ["x", "y", "x"])));
}
