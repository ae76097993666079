//! Which batches a predicate can hold for, from their statistics.

use std::{collections::HashSet, sync::Arc};

use arrow::{
    array::{ArrayRef, BooleanArray, UInt32Array, UInt64Array},
    compute::take,
    datatypes::SchemaRef,
};
use coframe::{ColumnStatistics, Statistics};
use datafusion::{
    common::{Column, ScalarValue, pruning::PruningStatistics},
    physical_expr::{DynamicFilterTracker, DynamicFilterTracking, PhysicalExpr},
    physical_optimizer::pruning::PruningPredicateBuilder,
};

use crate::parts::Batch;

/// Answers for the batches of one file, again when a dynamic filter has changed.
pub(crate) struct Pruner {
    predicate: Arc<dyn PhysicalExpr>,
    tracking: DynamicFilterTracking,
    statistics: OfBatches,
    kept: Option<Vec<bool>>,
}

impl Pruner {
    pub(crate) fn new(
        predicate: Arc<dyn PhysicalExpr>,
        schema: SchemaRef,
        statistics: Statistics,
        batches: &[Batch],
    ) -> Self {
        let tracking = DynamicFilterTracking::classify(&predicate);
        let positions = batches.iter().map(|batch| batch.position as u32).collect();
        Self { predicate, tracking, statistics: OfBatches { schema, statistics, positions }, kept: None }
    }

    /// Whether the predicate may hold for a row of the batch at this position among those of the file.
    pub(crate) fn keeps(&mut self, batch: usize) -> bool {
        if self.kept.is_none() || self.tracking.watcher().is_some_and(DynamicFilterTracker::changed) {
            self.kept = Some(self.prune());
        }
        self.kept.as_ref().and_then(|kept| kept.get(batch)).copied().unwrap_or(true)
    }

    /// A predicate that cannot be evaluated on statistics keeps all.
    fn prune(&self) -> Vec<bool> {
        let builder = PruningPredicateBuilder::new().with_file_schema(self.statistics.schema.clone());
        let kept = builder.build(self.predicate.clone()).and_then(|pruning| pruning.prune(&self.statistics).ok());
        kept.unwrap_or_default()
    }
}

/// The statistics of some batches of a frame.
struct OfBatches {
    schema: SchemaRef,
    statistics: Statistics,
    positions: UInt32Array,
}

impl OfBatches {
    fn column(&self, column: &Column) -> Option<&ColumnStatistics> {
        let (position, _) = self.schema.column_with_name(&column.name)?;
        self.statistics.columns().get(position)
    }

    fn of_batches(&self, values: &dyn arrow::array::Array) -> Option<ArrayRef> {
        take(values, &self.positions, None).ok()
    }
}

impl PruningStatistics for OfBatches {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.of_batches(self.column(column)?.min()?)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.of_batches(self.column(column)?.max()?)
    }

    fn num_containers(&self) -> usize {
        self.positions.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        self.of_batches(self.column(column)?.null_counts())
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        let rows: UInt64Array = self.statistics.num_rows().iter().map(|rows| Some(*rows as u64)).collect();
        self.of_batches(&rows)
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}
