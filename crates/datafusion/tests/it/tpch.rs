//! TPC-H: its tables, made here, and its 22 queries.

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use tpchgen::{
    distribution::Distributions,
    generators::{
        CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator, PartSuppGenerator,
        RegionGenerator, SupplierGenerator,
    },
    text::TextPool,
};
use tpchgen_arrow::{
    CustomerArrow, LineItemArrow, NationArrow, OrderArrow, PartArrow, PartSuppArrow, RegionArrow, SupplierArrow,
};

/// A table: its name, its schema and its rows.
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) schema: SchemaRef,
    pub(crate) batches: Vec<RecordBatch>,
}

/// The eight tables at a scale, with comments from `text` bytes of text (300 MB in the specification).
pub(crate) fn tables(scale: f64, text: i32) -> Vec<Table> {
    let words = Distributions::static_default();
    let pool: &'static TextPool = Box::leak(Box::new(TextPool::new(text, words)));
    macro_rules! table {
        ($name:literal, $arrow:ident, $generator:expr) => {{
            let rows = $arrow::new($generator).with_batch_size(8192);
            let batches: Vec<RecordBatch> = rows.map(|batch| batch.unwrap()).collect();
            Table { name: $name, schema: batches[0].schema(), batches }
        }};
    }
    vec![
        table!("nation", NationArrow, NationGenerator::new_with_distributions_and_text_pool(words, pool)),
        table!("region", RegionArrow, RegionGenerator::new_with_distributions_and_text_pool(words, pool)),
        table!("part", PartArrow, PartGenerator::new_with_distributions_and_text_pool(scale, 1, 1, words, pool)),
        table!(
            "supplier",
            SupplierArrow,
            SupplierGenerator::new_with_distributions_and_text_pool(scale, 1, 1, words, pool)
        ),
        table!("partsupp", PartSuppArrow, PartSuppGenerator::new_with_text_pool(scale, 1, 1, pool)),
        table!(
            "customer",
            CustomerArrow,
            CustomerGenerator::new_with_distributions_and_text_pool(scale, 1, 1, words, pool)
        ),
        table!("orders", OrderArrow, OrderGenerator::new_with_distributions_and_text_pool(scale, 1, 1, words, pool)),
        table!(
            "lineitem",
            LineItemArrow,
            LineItemGenerator::new_with_distributions_and_text_pool(scale, 1, 1, words, pool)
        ),
    ]
}

/// The queries, in order.
pub(crate) fn queries() -> Vec<&'static str> {
    let queries: Vec<&str> = include_str!("../../testdata/tpch.sql").split("-- q").skip(1).collect();
    let queries: Vec<_> = queries.into_iter().map(|query| query.split_once('\n').unwrap().1.trim()).collect();
    assert_eq!(queries.len(), 22);
    queries
}
