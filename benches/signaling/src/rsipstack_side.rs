//! rsipstack's endpoints over loopback UDP, used as its own `bench_ua` uses them.

use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use rsipstack::EndpointBuilder;
use rsipstack::dialog::DialogId;
use rsipstack::dialog::dialog::{Dialog, DialogState, DialogStateReceiver, DialogStateSender};
use rsipstack::dialog::dialog_layer::DialogLayer;
use rsipstack::dialog::invitation::InviteOption;
use rsipstack::sip::{Header, Method, Scheme, SipMessage, StatusCode, Uri};
use rsipstack::transaction::TransactionReceiver;
use rsipstack::transport::{TransportLayer, udp::UdpConnection};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::SDP;

struct End {
    layer: Arc<DialogLayer>,
    contact: Uri,
    states: DialogStateSender,
}

/// Two endpoints.
pub struct Endpoints {
    caller: Arc<End>,
    callee: Arc<End>,
    stop: CancellationToken,
}

impl Endpoints {
    pub async fn start() -> Result<Self> {
        let stop = CancellationToken::new();
        let (caller, _incoming, states) = end(&stop).await?;
        tokio::spawn(forget_ended(Arc::clone(&caller), states));
        let (callee, incoming, states) = end(&stop).await?;
        tokio::spawn(answer(Arc::clone(&callee), states));
        tokio::spawn(serve(Arc::clone(&callee), incoming));
        Ok(Self { caller, callee, stop })
    }

    /// Places `count` calls, `at_once` of them at any time.
    pub async fn calls(&mut self, count: u32, at_once: u32) -> Result<()> {
        let mut calls = JoinSet::new();
        let begin = || call(Arc::clone(&self.caller), self.callee.contact.clone());
        let mut begun = 0;
        while begun < count.min(at_once) {
            calls.spawn(begin());
            begun += 1;
        }
        while let Some(done) = calls.join_next().await {
            done??;
            if begun < count {
                calls.spawn(begin());
                begun += 1;
            }
        }
        Ok(())
    }
}

impl Drop for Endpoints {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn end(stop: &CancellationToken) -> Result<(Arc<End>, TransactionReceiver, DialogStateReceiver)> {
    let transports = TransportLayer::new(stop.clone());
    let address = "127.0.0.1:0".parse()?;
    let connection = UdpConnection::create_connection(address, None, Some(stop.child_token())).await.map_err(wrong)?;
    transports.add_transport(connection.into());
    let endpoint = EndpointBuilder::new().with_cancel_token(stop.clone()).with_transport_layer(transports).build();
    let address = endpoint.get_addrs().first().context("no address")?.clone();
    let contact = Uri {
        scheme: Some(Scheme::Sip),
        auth: None,
        host_with_port: address.addr,
        params: Vec::new(),
        headers: Vec::new(),
    };
    let incoming = endpoint.incoming_transactions().map_err(wrong)?;
    let layer = Arc::new(DialogLayer::new(endpoint.inner.clone()));
    let (states, received) = layer.new_dialog_state_channel();
    tokio::spawn(async move { endpoint.serve().await });
    Ok((Arc::new(End { layer, contact, states }), incoming, received))
}

fn wrong(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("rsipstack: {error}")
}

async fn call(end: Arc<End>, callee: Uri) -> Result<()> {
    let option = InviteOption {
        callee,
        caller: end.contact.clone(),
        contact: end.contact.clone(),
        content_type: Some("application/sdp".to_owned()),
        offer: Some(SDP.as_bytes().to_vec()),
        ..Default::default()
    };
    let (dialog, response) = end.layer.do_invite(option, end.states.clone()).await.map_err(wrong)?;
    let response = response.context("no response")?;
    anyhow::ensure!(response.status_code == StatusCode::OK, "refused: {}", response.status_code);
    dialog.bye_with_headers(None).await.map_err(wrong)
}

async fn serve(end: Arc<End>, mut incoming: TransactionReceiver) {
    while let Some(mut transaction) = incoming.recv().await {
        match transaction.original.method {
            Method::Invite => {
                let contact = Some(end.contact.clone());
                let dialog = end.layer.get_or_create_server_invite(&transaction, end.states.clone(), None, contact);
                let Ok(mut dialog) = dialog else { continue };
                tokio::spawn(async move { dialog.handle(&mut transaction).await.ok() });
            }
            Method::Bye => {
                let Ok(id) = DialogId::try_from(&transaction) else { continue };
                transaction.reply(StatusCode::OK).await.ok();
                end.layer.remove_dialog(&id);
            }
            _ => {}
        }
    }
}

async fn answer(end: Arc<End>, mut states: DialogStateReceiver) {
    while let Some(state) = states.recv().await {
        match state {
            DialogState::Calling(id) => {
                if let Some(Dialog::Invite(dialog)) = end.layer.get_dialog(&id) {
                    dialog.ringing(None, None).ok();
                    let kind = Header::ContentType("application/sdp".into());
                    dialog.accept(Some(vec![kind]), Some(SDP.as_bytes().to_vec())).ok();
                }
            }
            DialogState::Terminated(id, _) => end.layer.remove_dialog(&id),
            _ => {}
        }
    }
}

async fn forget_ended(end: Arc<End>, mut states: DialogStateReceiver) {
    while let Some(state) = states.recv().await {
        if let DialogState::Terminated(id, _) = state {
            end.layer.remove_dialog(&id);
        }
    }
}

/// Reads a message as the endpoint does.
pub fn parse(bytes: &bytes::Bytes) -> Result<SipMessage> {
    SipMessage::try_from(bytes.clone()).map_err(wrong)
}
