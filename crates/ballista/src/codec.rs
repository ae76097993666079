//! Tables and scans of frames in the messages of Ballista, which this crate's codecs replace and fall back to.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use ballista_core::serde::{BallistaLogicalExtensionCodec, BallistaPhysicalExtensionCodec};
use datafusion::{
    catalog::TableProvider,
    common::{Result, TableReference, exec_err, internal_datafusion_err},
    datasource::{
        file_format::FileFormatFactory,
        physical_plan::{ArrowSource, FileScanConfig, FileScanConfigBuilder, FileSource},
        source::DataSourceExec,
    },
    execution::TaskContext,
    logical_expr::{AggregateUDF, Extension, HigherOrderUDF, LogicalPlan, ScalarUDF, WindowUDF},
    physical_expr::PhysicalExpr,
    physical_expr_common::physical_expr::{proto_decode::PhysicalExprDecodeCtx, proto_encode::PhysicalExprEncodeCtx},
    physical_plan::ExecutionPlan,
};
use datafusion_proto::{
    logical_plan::LogicalExtensionCodec,
    physical_plan::{PhysicalExtensionCodec, PhysicalPlanDecodeContext, PhysicalProtoConverterExtension},
};
use prost::Message;

use crate::{
    node::Node,
    part::{Part, Parts, external},
    publish::{Stage, StageExec},
    source::{ClusterSource, scan_of},
    table::ClusterTable,
    wire::{self, PartMessage, ScanMessage, StageMessage, TableMessage},
};

/// Encodes tables of frames in logical plans, and everything else as Ballista does.
///
/// A table is sent with its schema and its parts with homes and statistics, so that the scheduler plans without a frame.
#[derive(Debug, Default)]
pub struct ClusterLogicalCodec {
    ballista: BallistaLogicalExtensionCodec,
}

impl LogicalExtensionCodec for ClusterLogicalCodec {
    fn try_decode(&self, bytes: &[u8], inputs: &[LogicalPlan], context: &TaskContext) -> Result<Extension> {
        let Some(message) = wire::decode::<StageMessage>(bytes) else {
            return self.ballista.try_decode(bytes, inputs, context);
        };
        let ([input], StageMessage { token, nodes }) = (inputs, message?) else {
            return exec_err!("StageFrames was sent with {} inputs, expected 1", inputs.len());
        };
        Ok(Stage::new(input.clone(), token, nodes)?.extension())
    }

    fn try_encode(&self, node: &Extension, buffer: &mut Vec<u8>) -> Result<()> {
        match node.node.as_any().downcast_ref::<Stage>() {
            Some(stage) => wire::encode(&stage.message(), buffer),
            None => self.ballista.try_encode(node, buffer),
        }
    }

    fn try_decode_table_provider(
        &self,
        bytes: &[u8],
        name: &TableReference,
        schema: SchemaRef,
        context: &TaskContext,
    ) -> Result<Arc<dyn TableProvider>> {
        let Some(message) = wire::decode::<TableMessage>(bytes) else {
            return self.ballista.try_decode_table_provider(bytes, name, schema, context);
        };
        let (schema, parts) = message?.table()?;
        Ok(Arc::new(ClusterTable::new(schema, parts)?))
    }

    fn try_encode_table_provider(
        &self,
        name: &TableReference,
        table: Arc<dyn TableProvider>,
        buffer: &mut Vec<u8>,
    ) -> Result<()> {
        let Some(frames) = table.downcast_ref::<ClusterTable>() else {
            return self.ballista.try_encode_table_provider(name, table, buffer);
        };
        wire::encode(&TableMessage::of(&frames.schema(), frames.parts())?, buffer)
    }

    fn try_decode_file_format(&self, bytes: &[u8], context: &TaskContext) -> Result<Arc<dyn FileFormatFactory>> {
        self.ballista.try_decode_file_format(bytes, context)
    }

    fn try_encode_file_format(&self, buffer: &mut Vec<u8>, format: Arc<dyn FileFormatFactory>) -> Result<()> {
        self.ballista.try_encode_file_format(buffer, format)
    }

    fn try_decode_udf(&self, name: &str, bytes: &[u8]) -> Result<Arc<ScalarUDF>> {
        self.ballista.try_decode_udf(name, bytes)
    }

    fn try_encode_udf(&self, function: &ScalarUDF, buffer: &mut Vec<u8>) -> Result<()> {
        self.ballista.try_encode_udf(function, buffer)
    }

    fn try_decode_higher_order_function(&self, name: &str, bytes: &[u8]) -> Result<Arc<HigherOrderUDF>> {
        self.ballista.try_decode_higher_order_function(name, bytes)
    }

    fn try_encode_higher_order_function(&self, function: &HigherOrderUDF, buffer: &mut Vec<u8>) -> Result<()> {
        self.ballista.try_encode_higher_order_function(function, buffer)
    }

    fn try_decode_udaf(&self, name: &str, bytes: &[u8]) -> Result<Arc<AggregateUDF>> {
        self.ballista.try_decode_udaf(name, bytes)
    }

    fn try_encode_udaf(&self, function: &AggregateUDF, buffer: &mut Vec<u8>) -> Result<()> {
        self.ballista.try_encode_udaf(function, buffer)
    }

    fn try_decode_udwf(&self, name: &str, bytes: &[u8]) -> Result<Arc<WindowUDF>> {
        self.ballista.try_decode_udwf(name, bytes)
    }

    fn try_encode_udwf(&self, function: &WindowUDF, buffer: &mut Vec<u8>) -> Result<()> {
        self.ballista.try_encode_udwf(function, buffer)
    }
}

/// Encodes scans of frames in physical plans, and everything else as Ballista does.
///
/// DataFusion encodes the scan as one of Arrow files, with projection, limit and statistics; the predicate and the parts
/// are fields of this crate's message.
#[derive(Debug, Default)]
pub struct ClusterPhysicalCodec {
    ballista: BallistaPhysicalExtensionCodec,
    node: Option<Arc<Node>>,
}

impl ClusterPhysicalCodec {
    /// A codec whose scans read on this node. The default one is for a scheduler or a client, which only send them.
    #[must_use]
    pub fn of_node(node: Arc<Node>) -> Self {
        Self { node: Some(node), ..Self::default() }
    }

    fn encode_scan(
        &self,
        config: &FileScanConfig,
        source: &ClusterSource,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<ScanMessage> {
        let mut files: Arc<dyn FileSource> = Arc::new(ArrowSource::new_file_source(source.table_schema().clone()));
        if let Some(projection) = source.projection() {
            let found = files.try_pushdown_projection(projection)?;
            files = found.ok_or_else(|| internal_datafusion_err!("a scan of Arrow files took no projection"))?;
        }
        let config = FileScanConfigBuilder::from(config.clone()).with_source(files).build();
        let plan: Arc<dyn ExecutionPlan> = DataSourceExec::from_data_source(config);
        let scan = converter.execution_plan_to_proto(&plan, self)?.encode_to_vec();
        let predicate =
            source.filter().map(|predicate| converter.physical_expr_to_proto(&predicate, self)).transpose()?;
        let predicate = predicate.map(|predicate| predicate.encode_to_vec());
        let parts = source.parts().iter().map(|part| PartMessage::of(part, false)).collect();
        Ok(ScanMessage { scan, predicate, parts })
    }

    fn decode_scan(
        &self,
        message: ScanMessage,
        context: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let context = PhysicalPlanDecodeContext::new(context, self);
        let scan = Message::decode(message.scan.as_slice()).map_err(external)?;
        let plan = converter.proto_to_execution_plan(&scan, &context)?;
        let scan = plan.downcast_ref::<DataSourceExec>();
        let config = scan.and_then(|scan| scan.data_source().downcast_ref::<FileScanConfig>());
        let Some(config) = config else {
            return exec_err!("a scan of frames was sent as {}, expected a scan of files", plan.name());
        };
        let files = config.file_source();
        let schema = files.table_schema().file_schema();
        let parts: Parts =
            message.parts.into_iter().map(|part| part.part(schema)).collect::<Result<Vec<Part>>>()?.into();
        let mut source = ClusterSource::new(parts, schema)?.at(self.node.clone());
        if let Some(projection) = files.projection() {
            source = source.with_projection(projection)?;
        }
        if let Some(predicate) = &message.predicate {
            let predicate = Message::decode(predicate.as_slice()).map_err(external)?;
            source = source.with_predicate(converter.proto_to_physical_expr(&predicate, schema, &context)?)?;
        }
        let config = FileScanConfigBuilder::from(config.clone()).with_source(Arc::new(source)).build();
        Ok(DataSourceExec::from_data_source(config))
    }
}

impl PhysicalExtensionCodec for ClusterPhysicalCodec {
    fn try_decode(
        &self,
        bytes: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        context: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if let Some(message) = wire::decode::<StageMessage>(bytes) {
            let [input] = inputs else {
                return exec_err!("StageExec was sent with {} inputs, expected 1", inputs.len());
            };
            return Ok(Arc::new(StageExec::new(input.clone(), message?, self.node.clone())));
        }
        match wire::decode::<ScanMessage>(bytes) {
            Some(message) => self.decode_scan(message?, context, converter),
            None => self.ballista.try_decode(bytes, inputs, context, converter),
        }
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        buffer: &mut Vec<u8>,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        if let Some(stage) = node.downcast_ref::<StageExec>() {
            return wire::encode(stage.message(), buffer);
        }
        match scan_of(node.as_ref()) {
            Some((config, source)) => wire::encode(&self.encode_scan(config, source, converter)?, buffer),
            None => self.ballista.try_encode(node, buffer, converter),
        }
    }

    fn try_decode_udf(&self, name: &str, bytes: &[u8]) -> Result<Arc<ScalarUDF>> {
        self.ballista.try_decode_udf(name, bytes)
    }

    fn try_encode_udf(&self, function: &ScalarUDF, buffer: &mut Vec<u8>) -> Result<()> {
        self.ballista.try_encode_udf(function, buffer)
    }

    fn try_decode_higher_order_function(&self, name: &str, bytes: &[u8]) -> Result<Arc<HigherOrderUDF>> {
        self.ballista.try_decode_higher_order_function(name, bytes)
    }

    fn try_encode_higher_order_function(&self, function: &HigherOrderUDF, buffer: &mut Vec<u8>) -> Result<()> {
        self.ballista.try_encode_higher_order_function(function, buffer)
    }

    fn try_decode_expr(
        &self,
        bytes: &[u8],
        inputs: &[Arc<dyn PhysicalExpr>],
        context: &PhysicalExprDecodeCtx<'_>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        self.ballista.try_decode_expr(bytes, inputs, context)
    }

    fn try_encode_expr(
        &self,
        expression: &Arc<dyn PhysicalExpr>,
        buffer: &mut Vec<u8>,
        context: &PhysicalExprEncodeCtx<'_>,
    ) -> Result<()> {
        self.ballista.try_encode_expr(expression, buffer, context)
    }

    fn try_decode_udaf(&self, name: &str, bytes: &[u8]) -> Result<Arc<AggregateUDF>> {
        self.ballista.try_decode_udaf(name, bytes)
    }

    fn try_encode_udaf(&self, function: &AggregateUDF, buffer: &mut Vec<u8>) -> Result<()> {
        self.ballista.try_encode_udaf(function, buffer)
    }

    fn try_decode_udwf(&self, name: &str, bytes: &[u8]) -> Result<Arc<WindowUDF>> {
        self.ballista.try_decode_udwf(name, bytes)
    }

    fn try_encode_udwf(&self, function: &WindowUDF, buffer: &mut Vec<u8>) -> Result<()> {
        self.ballista.try_encode_udwf(function, buffer)
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema};
    use datafusion::{
        common::{ScalarValue, Statistics, stats::Precision},
        physical_plan::displayable,
        prelude::{SessionConfig, SessionContext},
    };
    use datafusion_proto::bytes::{
        physical_plan_from_bytes_with_extension_codec, physical_plan_to_bytes_with_extension_codec,
    };

    use super::*;
    use crate::part::Home;

    fn table() -> ClusterTable {
        let fields = vec![Field::new("a", DataType::Int64, true), Field::new("b", DataType::Utf8View, false)];
        let schema = Arc::new(Schema::new(fields));
        let part = |id: u128, node: &str| {
            let mut statistics = Statistics::new_unknown(&schema);
            statistics.num_rows = Precision::Exact(30);
            statistics.column_statistics[0].max_value = Precision::Exact(ScalarValue::Int64(Some(7)));
            let home = Home { node: node.into(), url: format!("http://{node}:1"), name: "t".into(), version: 3 };
            Part { name: "t".into(), id, rows: 30, bytes: 99, batches: vec![10, 20], homes: vec![home], statistics }
        };
        let parts = vec![part(1, "n0"), part(u128::MAX, "n1")];
        ClusterTable::new(schema.clone(), parts).unwrap()
    }

    /// The parts of the first scan.
    fn parts(plan: &dyn ExecutionPlan) -> Option<Vec<Part>> {
        let here = scan_of(plan).map(|(_, source)| source.parts().to_vec());
        here.or_else(|| plan.children().into_iter().find_map(|child| parts(child.as_ref())))
    }

    #[tokio::test]
    async fn a_scan_survives_its_message_with_projection_predicate_limit_and_parts() {
        let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(3));
        context.register_table("t", Arc::new(table())).unwrap();
        let codec = ClusterPhysicalCodec::default();
        for query in
            ["SELECT b, a + 1 FROM t WHERE a > 5", "SELECT b FROM t LIMIT 35", "SELECT a FROM t WHERE b LIKE 'x%'"]
        {
            let plan = context.sql(query).await.unwrap().create_physical_plan().await.unwrap();
            let bytes = physical_plan_to_bytes_with_extension_codec(plan.clone(), &codec).unwrap();
            let found = physical_plan_from_bytes_with_extension_codec(&bytes, &context.task_ctx(), &codec).unwrap();
            let text = |plan: &Arc<dyn ExecutionPlan>| displayable(plan.as_ref()).indent(true).to_string();
            assert_eq!(text(&found), text(&plan));
            assert!(text(&found).contains("file_type=coframe-cluster"), "{}", text(&found));
            assert_eq!(text(&found).contains("predicate="), query.contains("WHERE"), "{}", text(&found));
            let sent: Vec<_> = parts(plan.as_ref()).unwrap().iter().map(|part| (part.id, part.homes.clone())).collect();
            let kept: Vec<_> =
                parts(found.as_ref()).unwrap().iter().map(|part| (part.id, part.homes.clone())).collect();
            assert_eq!(kept, sent);
        }
    }

    #[test]
    fn a_table_survives_its_message_with_statistics_and_homes() {
        let (codec, table) = (ClusterLogicalCodec::default(), table());
        let (mut bytes, name) = (Vec::new(), TableReference::bare("t"));
        codec.try_encode_table_provider(&name, Arc::new(table.clone()), &mut bytes).unwrap();
        let context = TaskContext::default();
        let found = codec.try_decode_table_provider(&bytes, &name, table.schema(), &context).unwrap();
        let found = found.downcast_ref::<ClusterTable>().unwrap();
        assert_eq!(found.parts(), table.parts());
        assert_eq!(found.schema(), table.schema());
        // Bytes of a message that was cut off, or that has rows that its batches do not have, are an error.
        assert!(codec.try_decode_table_provider(&bytes[..bytes.len() - 1], &name, table.schema(), &context).is_err());
    }
    /// The bytes of a logical plan's table with this many frames, batches, and columns of integers with statistics.
    fn table_bytes(frames: usize, batches: usize, columns: usize) -> usize {
        let (schema, parts) = large(frames, batches, columns);
        let mut bytes = Vec::new();
        let table = Arc::new(ClusterTable::new(schema, parts).unwrap());
        ClusterLogicalCodec::default()
            .try_encode_table_provider(&TableReference::bare("flights"), table, &mut bytes)
            .unwrap();
        bytes.len()
    }

    fn large(frames: usize, batches: usize, columns: usize) -> (SchemaRef, Vec<Part>) {
        let fields: Vec<_> = (0..columns).map(|at| Field::new(format!("column_{at}"), DataType::Int64, true)).collect();
        let schema = Arc::new(Schema::new(fields));
        let mut statistics = Statistics::new_unknown(&schema);
        statistics.num_rows = Precision::Exact(batches << 17);
        for column in &mut statistics.column_statistics {
            column.min_value = Precision::Exact(ScalarValue::Int64(Some(-1 << 40)));
            column.max_value = Precision::Exact(ScalarValue::Int64(Some(1 << 40)));
            column.null_count = Precision::Exact(1 << 20);
        }
        let part = |at: usize| {
            let url = format!("http://10.0.0.{}:50053", at % 100 + 100);
            let home = Home { node: format!("node-{at:03}"), url, name: "flights".into(), version: 7 };
            Part {
                name: "flights".into(),
                id: u128::MAX - at as u128,
                rows: batches << 17,
                bytes: batches << 24,
                batches: vec![1 << 17; batches],
                homes: vec![home],
                statistics: statistics.clone(),
            }
        };
        (schema, (0..frames).map(part).collect())
    }

    /// The bytes of a physical plan that scans the same in this many partitions.
    async fn scan_bytes(frames: usize, batches: usize, columns: usize, partitions: usize) -> usize {
        let (schema, parts) = large(frames, batches, columns);
        let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(partitions));
        context.register_table("t", Arc::new(ClusterTable::new(schema, parts).unwrap())).unwrap();
        let plan = context.sql("SELECT * FROM t").await.unwrap().create_physical_plan().await.unwrap();
        physical_plan_to_bytes_with_extension_codec(plan, &ClusterPhysicalCodec::default()).unwrap().len()
    }

    /// docs/CLUSTER.md, "Sizes".
    #[tokio::test]
    async fn the_bytes_of_plans_are_those_of_the_guide() {
        let per = |more: usize, less: usize, count: usize| (more - less) as f64 / count as f64;
        let base = table_bytes(1, 1, 1);
        let table = [
            per(table_bytes(101, 1, 1), base, 100),
            per(table_bytes(1, 1001, 1), base, 1000),
            per(table_bytes(11, 1, 101) - table_bytes(1, 1, 101), table_bytes(11, 1, 1) - base, 1000),
        ];
        let base = scan_bytes(1, 1, 1, 1).await;
        let scan = [
            per(scan_bytes(101, 1, 1, 1).await, base, 100),
            per(scan_bytes(1, 1001, 1, 1).await, base, 1000),
            per(scan_bytes(1, 1001, 1, 501).await, scan_bytes(1, 1001, 1, 1).await, 500),
            per(scan_bytes(1, 1, 101, 1).await, base, 100),
        ];
        // A frame, a batch, a column of a frame; a frame, a batch, a partition, a column.
        for (found, guide) in table.iter().zip([160.0, 3.0, 54.0]).chain(scan.iter().zip([120.0, 3.0, 35.0, 103.0])) {
            assert!((found / guide - 1.0).abs() < 0.1, "{table:?} {scan:?}");
        }
    }
}
