import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeEach, test } from 'node:test'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { Login } from '../login.js'
import { Secrets } from '../secrets.js'

let written
beforeEach((t) => {
  written = []
  for (const method of ['log', 'error']) {
    t.mock.method(console, method, (line) => written.push(line))
  }
})

/** A folder as the kubelet makes it. */
class Mount {
  #versions = 0

  constructor(t, content) {
    this.path = mkdtempSync(join(tmpdir(), 'consumer-'))
    t.after(() => rmSync(this.path, { recursive: true }))
    this.publish(content)
    symlinkSync('..data/client_secrets', join(this.path, 'client_secrets'))
  }

  publish(content) {
    const version = `..${++this.#versions}`
    mkdirSync(join(this.path, version))
    writeFileSync(join(this.path, version, 'client_secrets'), content)
    symlinkSync(version, join(this.path, '..data_tmp'))
    renameSync(join(this.path, '..data_tmp'), join(this.path, '..data'))
  }
}

/** Accepts some secrets and keeps what it was asked. */
async function startAuth0(t) {
  const auth0 = { accepted: [], asked: [], status: undefined }
  const server = createServer(async (request, response) => {
    const form = new URLSearchParams(await text(request))
    auth0.asked.push(form.get('client_secret'))
    const isAccepted =
      request.url === '/oauth/token' &&
      form.get('client_id') === 'shop' &&
      form.get('audience') === 'https://api.example' &&
      auth0.accepted.includes(form.get('client_secret'))
    const status = auth0.status ?? (isAccepted ? 200 : 401)
    const body = isAccepted
      ? { access_token: 'token', token_type: 'Bearer', expires_in: 60 }
      : { error: 'access_denied', error_description: 'Unauthorized' }
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => server.close())
  t.after(() => server.closeAllConnections())
  auth0.url = `http://127.0.0.1:${server.address().port}`
  return auth0
}

async function start(t, content) {
  const mount = new Mount(t, content)
  const auth0 = await startAuth0(t)
  const secrets = new Secrets(mount.path)
  const settings = {
    domain: 'acme.eu.auth0.com',
    endpoint: auth0.url,
    clientId: 'shop',
    audience: 'https://api.example',
  }
  return { mount, auth0, secrets, login: new Login(settings, secrets) }
}

/** Expects the secrets to be tried in this order, and the last to be accepted. */
async function logsIn({ auth0, login }, ...order) {
  auth0.asked = []
  const { token, tries } = await login.token()
  assert.equal(token.access_token, 'token')
  assert.deepEqual(auth0.asked, order)
  assert.equal(tries, order.length)
}

test('the list is tried in its order, and what works is remembered', async (t) => {
  const it = await start(t, '["a","b","c"]')
  it.auth0.accepted = ['b']
  await logsIn(it, 'a', 'b')
  await logsIn(it, 'b')
  it.mount.publish('["c","a","b"]')
  it.secrets.refresh()
  await logsIn(it, 'b')
})

test('a staged rotation is followed by watching', async (t) => {
  const it = await start(t, '["old"]')
  const watcher = it.secrets.watch()
  t.after(() => watcher.close())
  it.auth0.accepted = ['old']
  await logsIn(it, 'old')

  it.mount.publish('["old","new"]')
  const deadline = Date.now() + 10_000
  while (it.secrets.list.length !== 2) {
    assert.ok(Date.now() < deadline, 'the pair was not read')
    await sleep(5)
  }
  await logsIn(it, 'old')

  it.auth0.accepted = ['new']
  await logsIn(it, 'old', 'new')
  await logsIn(it, 'new')
})

test('a fresh read comes before giving up', async (t) => {
  const it = await start(t, '["old"]')
  it.mount.publish('["new","old"]')
  it.auth0.accepted = ['new']
  await logsIn(it, 'old', 'new')

  it.auth0.accepted = ['another']
  await assert.rejects(it.login.token(), { message: /refuses each secret/, tries: 4 })
})

test('junk leaves the list as it was, and is not shown', async (t) => {
  const it = await start(t, '["good"]')
  it.auth0.accepted = ['good']
  for (const junk of ['', 'hunter2', '{"hunter2":1}', '[]', '[""]', '["hunter2",3]', '["hunter2"']) {
    it.mount.publish(junk)
    assert.throws(() => it.secrets.refresh(), { message: /not a JSON list/ })
    it.secrets.refreshOrComplain()
    await logsIn(it, 'good')
  }
  rmSync(join(it.mount.path, 'client_secrets'))
  it.secrets.refreshOrComplain()
  await logsIn(it, 'good')
  assert.match(written.join('\n'), /the list stays as it was/)
  assert.doesNotMatch(written.join('\n'), /hunter2|good/)
  const other = new Mount(t, 'junk')
  assert.throws(() => new Secrets(other.path), { message: /not a JSON list/ })
})

test('other answers are no reason to try another secret', async (t) => {
  const it = await start(t, '["a","b"]')
  for (const status of [403, 429, 500]) {
    it.auth0.status = status
    await assert.rejects(it.login.token(), { tries: 1 })
  }
})
