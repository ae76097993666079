//! The calls of Flight that are not streams of the map's bytes.

use std::{pin::Pin, sync::Arc};

use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightEndpoint, FlightInfo, HandshakeRequest,
    HandshakeResponse, PollInfo, PutResult, Result as ActionResult, SchemaResult, Ticket as FlightTicket,
    flight_descriptor::DescriptorType, flight_service_server::FlightService,
};
use coframe::Frame;
use futures::{Stream, stream};
use tonic::{Code, Request, Response, Status, Streaming, metadata::MetadataValue};

use super::{
    Shared,
    gate::{Confirmed, blocking},
    put,
};
use crate::{
    error, messages,
    tokens::Access,
    wire::{self, Layout, Stat, Ticket},
};

pub(super) struct Calls {
    shared: Arc<Shared>,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Calls {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    async fn info(&self, descriptor: FlightDescriptor) -> Result<FlightInfo, Status> {
        let ticket = ticket(&descriptor)?;
        let shared = self.shared.clone();
        blocking(move || {
            let frame = shared.open(&ticket.name, ticket.version, ticket.id)?;
            info(&frame, ticket, descriptor)
        })
        .await
    }
}

/// What a descriptor asks for: PATH [name] or [name, version], or CMD with a ticket.
fn ticket(descriptor: &FlightDescriptor) -> Result<Ticket, Status> {
    if descriptor.r#type() == DescriptorType::Cmd {
        return wire::parse("command", &descriptor.cmd);
    }
    let (name, version) = match descriptor.path.as_slice() {
        [name] => (name, None),
        [name, version] => {
            let number = version.parse().map_err(|_| Status::invalid_argument("the version is not a number"))?;
            (name, Some(number))
        }
        path => {
            let found = path.len();
            return Err(Status::invalid_argument(format!(
                "expected the path [name] or [name, version], found {found} parts"
            )));
        }
    };
    Ok(Ticket { name: name.clone(), version, id: None, columns: None, rows: None, layout: Layout::Keep })
}

fn info(frame: &Frame, mut ticket: Ticket, descriptor: FlightDescriptor) -> Result<FlightInfo, Status> {
    let stat = Stat::of(frame);
    // The ticket reads this version, whatever is published meanwhile.
    (ticket.version, ticket.id) = (Some(stat.version), stat.id);
    let first = messages::of_ticket(frame, &ticket)?.next().transpose()?;
    let schema = first.map(|data| messages::encapsulated(&data.header)).unwrap_or_default();
    let rows = ticket.rows.map_or(frame.num_rows(), |(start, end)| end.saturating_sub(start));
    let endpoint = FlightEndpoint {
        ticket: Some(FlightTicket { ticket: wire::json(&ticket)? }),
        location: Vec::new(),
        expiration_time: None,
        app_metadata: bytes::Bytes::new(),
    };
    Ok(FlightInfo {
        schema,
        flight_descriptor: Some(descriptor),
        endpoint: vec![endpoint],
        total_records: i64::try_from(rows).unwrap_or(-1),
        total_bytes: i64::try_from(stat.bytes).unwrap_or(-1),
        ordered: true,
        app_metadata: wire::json(&stat)?,
    })
}

#[tonic::async_trait]
impl FlightService for Calls {
    type HandshakeStream = Answers<HandshakeResponse>;
    type ListFlightsStream = Answers<FlightInfo>;
    type DoGetStream = Answers<FlightData>;
    type DoPutStream = Answers<PutResult>;
    type DoExchangeStream = Answers<FlightData>;
    type DoActionStream = Answers<ActionResult>;
    type ListActionsStream = Answers<ActionType>;

    /// For clients that log in with a name and a password: the password is the token.
    async fn handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        let confirmed = request.extensions().get::<Confirmed>().map_or("none", |confirmed| &confirmed.0);
        let header = MetadataValue::try_from(format!("Bearer {confirmed}"));
        let header = header.map_err(|_| Status::unauthenticated("the token is not ASCII"))?;
        let mut response: Response<Self::HandshakeStream> = Response::new(Box::pin(stream::empty()));
        response.metadata_mut().insert("authorization", header);
        Ok(response)
    }

    async fn list_flights(&self, request: Request<Criteria>) -> Result<Response<Self::ListFlightsStream>, Status> {
        let prefix = String::from_utf8(request.into_inner().expression.to_vec())
            .map_err(|_| Status::invalid_argument("the criteria are not UTF-8; expected the start of a name"))?;
        let shared = self.shared.clone();
        let names = blocking(move || shared.store.names().map_err(|e| error::status(&e))).await?;
        let shared = self.shared.clone();
        let names = names.into_iter().filter(move |name| name.as_str().starts_with(&prefix));
        let infos = stream::unfold((names, shared), |(mut names, shared)| async move {
            loop {
                let name = names.next()?;
                let opening = shared.clone();
                let found = blocking(move || {
                    let path = vec![name.to_string()];
                    let descriptor =
                        FlightDescriptor { r#type: DescriptorType::Path.into(), path, ..Default::default() };
                    info(&opening.open(name.as_str(), None, None)?, ticket(&descriptor)?, descriptor)
                });
                let found = found.await;
                // A frame that was removed meanwhile, or is damaged, is left out, as `Store::list` does. If the server stops
                // or lacks room, the list would seem complete without the frames that follow.
                let lacks = [Code::Unavailable, Code::ResourceExhausted];
                if found.as_ref().map_or_else(|status| lacks.contains(&status.code()), |_| true) {
                    return Some((found, (names, shared)));
                }
            }
        });
        Ok(Response::new(Box::pin(infos)))
    }

    async fn get_flight_info(&self, request: Request<FlightDescriptor>) -> Result<Response<FlightInfo>, Status> {
        Ok(Response::new(self.info(request.into_inner()).await?))
    }

    async fn get_schema(&self, request: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        let info = self.info(request.into_inner()).await?;
        Ok(Response::new(SchemaResult { schema: info.schema }))
    }

    async fn do_put(&self, request: Request<Streaming<FlightData>>) -> Result<Response<Self::DoPutStream>, Status> {
        let access = request.extensions().get::<Access>().copied().unwrap_or(Access::Read);
        self.shared.check_write(access)?;
        let answer = put::receive(self.shared.clone(), request.into_inner()).await?;
        let result = PutResult { app_metadata: wire::json(&answer)? };
        Ok(Response::new(Box::pin(stream::iter([Ok(result)]))))
    }

    async fn list_actions(&self, _: Request<Empty>) -> Result<Response<Self::ListActionsStream>, Status> {
        let actions = [
            (wire::SEGMENT, "bytes of a segment, for mirrors"),
            (wire::SOURCE, "where to fetch a segment, when many do"),
            (wire::STAT, "what a frame is: version, segment id, bytes, rows, columns, metadata"),
            (wire::WAIT, "waits for a newer version of a name"),
            (wire::REMOVE, "removes a name (needs write access)"),
        ];
        let of = |(name, text): (&str, &str)| Ok(ActionType { r#type: name.into(), description: text.into() });
        Ok(Response::new(Box::pin(stream::iter(actions.map(of)))))
    }

    async fn do_get(&self, _: Request<FlightTicket>) -> Result<Response<Self::DoGetStream>, Status> {
        Err(Status::internal("DoGet is answered by the gate"))
    }

    async fn do_action(&self, _: Request<Action>) -> Result<Response<Self::DoActionStream>, Status> {
        Err(Status::internal("DoAction is answered by the gate"))
    }

    async fn do_exchange(&self, _: Request<Streaming<FlightData>>) -> Result<Response<Self::DoExchangeStream>, Status> {
        Err(Status::unimplemented("DoExchange is not part of docs/WIRE.md"))
    }

    async fn poll_flight_info(&self, _: Request<FlightDescriptor>) -> Result<Response<PollInfo>, Status> {
        Err(Status::unimplemented("PollFlightInfo is not part of docs/WIRE.md; use GetFlightInfo"))
    }
}
