//! Writing rows of a query where they are computed: the plan node of `CREATE TABLE .. AS`.

use std::{cmp::Ordering, fmt, sync::Arc};

use arrow::{
    array::{ArrayRef, RecordBatch, StringArray, UInt64Array},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use async_trait::async_trait;
use datafusion::{
    catalog::Session,
    common::{
        DFSchema, DFSchemaRef, Result, exec_err, internal_datafusion_err, plan_err, tree_node::TreeNodeRecursion,
    },
    execution::{SendableRecordBatchStream, TaskContext},
    logical_expr::{
        Expr, Extension, LogicalPlan, UserDefinedLogicalNode, UserDefinedLogicalNodeCore,
        physical_planning_context::PhysicalPlanningContext,
    },
    physical_expr::{EquivalenceProperties, PhysicalExpr},
    physical_plan::{
        ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
        ReplaceChildrenOptions,
        execution_plan::{Boundedness, EmissionType},
        stream::RecordBatchStreamAdapter,
    },
    physical_planner::{ExtensionPlanner, PhysicalPlanner},
};
use futures::stream;

use crate::{node::Node, wire::StageMessage};

/// What a partition returns after it wrote its rows: the node, the name of the frame in its store, and the rows.
fn written() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    Arc::new(Schema::new(vec![text("node"), text("frame"), Field::new("rows", DataType::UInt64, false)]))
}

/// A frame that a partition wrote under a hidden name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Staged {
    pub(crate) node: String,
    pub(crate) frame: String,
}

impl Staged {
    /// Those that a query returned.
    pub(crate) fn of(batches: &[RecordBatch]) -> Result<Vec<Self>> {
        let mut found = Vec::new();
        for batch in batches {
            let text = |column: usize| batch.column(column).as_any().downcast_ref::<StringArray>();
            let (Some(nodes), Some(frames)) = (text(0), text(1)) else {
                return exec_err!("the executors returned {:?} instead of what they wrote", batch.schema());
            };
            let pairs = nodes.iter().flatten().zip(frames.iter().flatten());
            found.extend(pairs.map(|(node, frame)| Self { node: node.to_owned(), frame: frame.to_owned() }));
        }
        Ok(found)
    }
}

/// Each partition of the input as a frame in the store of the node that computes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Stage {
    pub(crate) input: LogicalPlan,
    /// Of the statement: part of the hidden names.
    pub(crate) token: String,
    /// The nodes that may write.
    pub(crate) nodes: Vec<String>,
    schema: DFSchemaRef,
}

impl Stage {
    pub(crate) fn new(input: LogicalPlan, token: String, nodes: Vec<String>) -> Result<Self> {
        let schema = Arc::new(DFSchema::try_from(written())?);
        Ok(Self { input, token, nodes, schema })
    }

    pub(crate) fn message(&self) -> StageMessage {
        StageMessage { token: self.token.clone(), nodes: self.nodes.clone() }
    }

    /// As a node of a plan.
    pub(crate) fn extension(self) -> Extension {
        Extension { node: Arc::new(self) }
    }
}

impl PartialOrd for Stage {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (&self.token, &self.nodes, &self.input).partial_cmp(&(&other.token, &other.nodes, &other.input))
    }
}

impl UserDefinedLogicalNodeCore for Stage {
    fn name(&self) -> &'static str {
        "StageFrames"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StageFrames: {}", self.token)
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let input = inputs.into_iter().next().ok_or_else(|| internal_datafusion_err!("StageFrames needs an input"))?;
        Ok(Self { input, ..self.clone() })
    }
}

/// Plans [`Stage`].
pub(crate) struct StagePlanner;

#[async_trait]
impl ExtensionPlanner for StagePlanner {
    async fn plan_extension(
        &self,
        _: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _: &[&LogicalPlan],
        inputs: &[Arc<dyn ExecutionPlan>],
        _: &dyn Session,
        _: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(stage) = node.as_any().downcast_ref::<Stage>() else { return Ok(None) };
        let [input] = inputs else { return plan_err!("StageFrames has {} inputs, expected 1", inputs.len()) };
        Ok(Some(Arc::new(StageExec::new(input.clone(), stage.message(), None))))
    }
}

/// Writes each partition of its input to the node, and returns where.
///
/// It writes under a hidden name with a random part. A partition that runs again therefore writes another frame, and only
/// the frames that the query returns become the table.
#[derive(Debug)]
pub(crate) struct StageExec {
    input: Arc<dyn ExecutionPlan>,
    message: StageMessage,
    node: Option<Arc<Node>>,
    properties: Arc<PlanProperties>,
}

impl StageExec {
    pub(crate) fn new(input: Arc<dyn ExecutionPlan>, message: StageMessage, node: Option<Arc<Node>>) -> Self {
        let partitions = input.properties().output_partitioning().partition_count();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(written()),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Self { input, message, node, properties: Arc::new(properties) }
    }

    pub(crate) fn message(&self) -> &StageMessage {
        &self.message
    }
}

impl DisplayAs for StageExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StageExec: {}", self.message.token)
    }
}

impl ExecutionPlan for StageExec {
    fn name(&self) -> &'static str {
        "StageExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    /// A frame has the order of its rows, so a sort below stays.
    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    /// Partitions stay on the nodes of their frames.
    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let [input] = children.as_slice() else {
            return plan_err!("StageExec has {} children, expected 1", children.len());
        };
        Ok(Arc::new(Self::new(input.clone(), self.message.clone(), self.node.clone())))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let Some(node) = self.node.clone() else {
            return exec_err!("frames are written on the executors of a cluster, and this process is not one");
        };
        if !self.message.nodes.iter().any(|known| known == node.name()) {
            return exec_err!(
                "a part of the table would be on node `{}`, which the statement does not know; add its executor to the nodes",
                node.name()
            );
        }
        let (rows, token) = (self.input.execute(partition, context)?, self.message.token.clone());
        let written = async move {
            let (frame, rows) = node.stage(&token, rows).await?;
            let columns: [ArrayRef; 3] = [
                Arc::new(StringArray::from_iter_values([node.name()])),
                Arc::new(StringArray::from_iter_values([frame])),
                Arc::new(UInt64Array::from_iter_values([rows])),
            ];
            Ok(RecordBatch::try_new(self::written(), columns.into())?)
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(self::written(), stream::once(written))))
    }
}
