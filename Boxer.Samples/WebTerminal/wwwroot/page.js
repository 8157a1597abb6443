// One terminal. A page that is loaded again shows the shell of its tab, while its session is open.
const terminal = new Terminal();
const fit = new FitAddon.FitAddon();
terminal.loadAddon(fit);
terminal.open(document.getElementById('terminal'));
fit.fit();

const query = new URLSearchParams({ cols: terminal.cols, rows: terminal.rows });
const session = sessionStorage.getItem('session');
if (session) {
  query.set('session', session);
}

const socket = new WebSocket(`ws://${location.host}/terminal?${query}`);
socket.binaryType = 'arraybuffer';

const send = (message) => {
  if (socket.readyState === WebSocket.OPEN) {
    socket.send(message);
  }
};

socket.onmessage = ({ data }) => {
  if (data instanceof ArrayBuffer) {
    terminal.write(new Uint8Array(data));
    return;
  }

  const message = JSON.parse(data);
  if (message.session) {
    sessionStorage.setItem('session', message.session);
  } else {
    terminal.write(`\r\n[${message.end}]\r\n`);
  }
};
socket.onclose = () => terminal.write('\r\n[disconnected: load the page again]\r\n');

const encoder = new TextEncoder();
terminal.onData((keys) => send(encoder.encode(keys)));
terminal.onBinary((bytes) => send(Uint8Array.from(bytes, (byte) => byte.charCodeAt(0))));
terminal.onResize(({ cols, rows }) => send(JSON.stringify({ cols, rows })));
window.addEventListener('resize', () => fit.fit());
terminal.focus();
