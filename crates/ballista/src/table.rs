//! Frames of several nodes as one table.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    common::{Result, Statistics, plan_err, stats::Precision},
    datasource::{
        TableType,
        physical_plan::{FileGroup, FileScanConfigBuilder, FileSource},
        source::DataSourceExec,
    },
    execution::object_store::ObjectStoreUrl,
    logical_expr::{Expr, TableProviderFilterPushDown},
    physical_plan::ExecutionPlan,
};

use crate::{
    node::Node,
    part::{Part, Parts},
    source::{ClusterSource, Share},
};

/// Frames on any nodes, one after the other, as a table of DataFusion.
///
/// The table holds descriptions of its frames but not their bytes, so any process can plan a query on it. A scan has at
/// least one partition for each set of nodes that have the same frames, and no partition has rows of two such sets.
#[derive(Clone, Debug)]
pub struct ClusterTable {
    schema: SchemaRef,
    parts: Parts,
    /// The node of this process, if it reads frames.
    local: Option<Arc<Node>>,
}

impl ClusterTable {
    /// A table of these frames, which have these columns.
    ///
    /// # Errors
    ///
    /// If `parts` is empty, if a part has no home, or if a frame occurs twice, which would return its rows twice.
    pub fn new(schema: SchemaRef, parts: Vec<Part>) -> Result<Self> {
        if parts.is_empty() {
            return plan_err!("a table of frames needs at least one frame, which gives it its columns");
        }
        for (at, part) in parts.iter().enumerate() {
            if part.homes.is_empty() {
                return plan_err!("the frame `{}` has no node", part.label());
            }
            if parts[..at].iter().any(|other| other.id == part.id) {
                return plan_err!("the frame `{}` with the id {:032x} is in the table twice", part.label(), part.id);
            }
        }
        Ok(Self { schema, parts: parts.into(), local: None })
    }

    /// A table that this process can read, on its node.
    pub(crate) fn at(self, local: Option<Arc<Node>>) -> Self {
        Self { local, ..self }
    }

    /// The frames, in the order of their rows.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// What is known of the first `rows` rows.
    fn known(&self, rows: usize) -> Result<Statistics> {
        let merged = match &*self.parts {
            [part] => part.statistics.clone(),
            parts => Statistics::try_merge_iter(parts.iter().map(|part| &part.statistics), &self.schema)?,
        };
        let all: usize = self.parts.iter().map(|part| part.rows).sum();
        let mut known = if rows < all { merged.to_inexact() } else { merged };
        known.num_rows = Precision::Exact(rows);
        Ok(known)
    }

    /// The first `rows` rows in about `wanted` partitions.
    fn partitions(&self, rows: usize, wanted: usize, batch_rows: usize) -> Vec<Vec<Share>> {
        let groups = self.groups(rows);
        let all = rows.max(1);
        let cut = |group: &Vec<Share>| {
            let of_group: usize = group.iter().map(|share| share.rows.len()).sum();
            let count = (wanted.saturating_mul(of_group) + all / 2) / all;
            self.cut(group, of_group, count.max(1), batch_rows.max(1))
        };
        let partitions: Vec<_> = groups.iter().flat_map(cut).collect();
        if partitions.is_empty() { vec![vec![]] } else { partitions }
    }

    /// The first `rows` rows by the nodes that have them.
    fn groups(&self, rows: usize) -> Vec<Vec<Share>> {
        let mut groups: Vec<(Vec<&str>, Vec<Share>)> = Vec::new();
        let mut left = rows;
        for (part, of) in self.parts.iter().enumerate() {
            let share = Share { part, rows: 0..of.rows.min(left) };
            left -= share.rows.len();
            if share.rows.is_empty() {
                continue;
            }
            let nodes = of.nodes();
            match groups.iter_mut().find(|(of, _)| *of == nodes) {
                Some((_, shares)) => shares.push(share),
                None => groups.push((nodes, vec![share])),
            }
        }
        groups.into_iter().map(|(_, shares)| shares).collect()
    }

    /// A group in `count` partitions at most, cut at batches, or inside a large one at multiples of `batch_rows`.
    fn cut(&self, group: &[Share], rows: usize, count: usize, batch_rows: usize) -> Vec<Vec<Share>> {
        let mut starts = Vec::new();
        let mut before = 0;
        for share in group {
            let mut row = 0;
            for batch in self.parts.get(share.part).iter().flat_map(|part| &part.batches) {
                let inside = (row..row + batch).step_by(batch_rows).take_while(|row| *row < share.rows.end);
                starts.extend(inside.map(|row| before + row));
                row += batch;
            }
            before += share.rows.len();
        }
        let count = count.min(starts.len().max(1));
        let start = |partition: usize| {
            let ideal = rows / count * partition + rows % count * partition / count;
            starts.get(starts.partition_point(|start| *start < ideal)).copied().unwrap_or(rows)
        };
        let cuts: Vec<usize> = (0..count).map(start).chain([rows]).collect();
        let within = |from: usize, to: usize| {
            let mut before = 0;
            let shares = group.iter().filter_map(|share| {
                let (first, last) = (from.max(before), to.min(before + share.rows.len()));
                let rows = first.saturating_sub(before)..last.saturating_sub(before);
                before += share.rows.len();
                (first < last).then_some(Share { part: share.part, rows })
            });
            shares.collect::<Vec<_>>()
        };
        cuts.windows(2).map(|pair| within(pair[0], pair[1])).filter(|shares| !shares.is_empty()).collect()
    }
}

#[async_trait]
impl TableProvider for ClusterTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let config = state.config();
        let all: usize = self.parts.iter().map(|part| part.rows).sum();
        // With filters, which only skip batches, a limit would count rows that DataFusion removes afterwards.
        let limited = limit.filter(|_| filters.is_empty());
        let rows = limited.map_or(all, |limit| limit.min(all));
        let source = ClusterSource::new(self.parts.clone(), &self.schema)?.at(self.local.clone());
        let partitions = self.partitions(rows, config.target_partitions(), config.batch_size());
        let group =
            |shares: &Vec<Share>| FileGroup::new(shares.iter().filter_map(|share| source.file(share)).collect());
        let groups = partitions.iter().map(group).collect();
        let source: Arc<dyn FileSource> = Arc::new(source.clone());
        let scan = FileScanConfigBuilder::new(ObjectStoreUrl::local_filesystem(), source)
            .with_file_groups(groups)
            .with_statistics(self.known(rows)?)
            .with_limit(limited)
            .with_projection_indices(projection.cloned())?;
        Ok(DataSourceExec::from_data_source(scan.build()))
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        // They skip batches; DataFusion applies them to the rows.
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    fn statistics(&self) -> Option<Statistics> {
        self.known(self.parts.iter().map(|part| part.rows).sum()).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use arrow::datatypes::Schema;

    use super::*;
    use crate::part::Home;

    fn part(id: u128, batches: &[usize], nodes: &[&str]) -> Part {
        Part {
            name: "t".into(),
            id,
            rows: batches.iter().sum(),
            bytes: 1,
            batches: batches.to_vec(),
            homes: nodes
                .iter()
                .map(|node| Home { node: (*node).into(), url: String::new(), name: "t".into(), version: 1 })
                .collect(),
            statistics: Statistics::new_unknown(&Schema::empty()),
        }
    }

    fn table(parts: Vec<Part>) -> ClusterTable {
        ClusterTable::new(Arc::new(Schema::empty()), parts).unwrap()
    }

    #[test]
    fn partitions_have_each_row_once_and_no_two_homes() {
        let table = table(vec![
            part(1, &[10, 7], &["a"]),
            part(2, &[100], &["b"]),
            part(3, &[5], &["a"]),
            part(4, &[9, 9], &["b", "a"]),
        ]);
        for rows in [0, 1, 16, 17, 18, 120, 122, 140] {
            for wanted in [1, 2, 7, 16] {
                let partitions = table.partitions(rows, wanted, 8);
                let mut seen: BTreeMap<(usize, usize), usize> = BTreeMap::new();
                for shares in &partitions {
                    let mut homes: Vec<_> = shares.iter().map(|share| table.parts[share.part].nodes()).collect();
                    homes.dedup();
                    assert!(homes.len() <= 1, "{shares:?}");
                    for share in shares {
                        share.rows.clone().for_each(|row| *seen.entry((share.part, row)).or_default() += 1);
                    }
                }
                assert_eq!(seen.len(), rows, "{rows} rows in {wanted} partitions: {partitions:?}");
                assert!(seen.values().all(|times| *times == 1));
                assert!(partitions.len() <= wanted + 3, "{partitions:?}");
            }
        }
    }

    #[test]
    fn a_large_group_is_cut_into_as_many_partitions_as_wanted() {
        let table = table(vec![part(1, &[8; 100], &["a"]), part(2, &[8; 100], &["b"])]);
        assert_eq!(table.partitions(1600, 16, 8192).len(), 16);
        assert_eq!(table.partitions(1600, 1, 8192).len(), 2);
    }

    #[test]
    fn a_frame_that_is_in_a_table_twice_is_an_error() {
        let twice = ClusterTable::new(Arc::new(Schema::empty()), vec![part(1, &[1], &["a"]), part(1, &[1], &["b"])]);
        assert!(twice.unwrap_err().to_string().contains("is in the table twice"));
        assert!(ClusterTable::new(Arc::new(Schema::empty()), vec![]).is_err());
    }
}
