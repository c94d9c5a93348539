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

let output
beforeEach((t) => {
  output = []
  for (const method of ['log', 'error']) {
    t.mock.method(console, method, (line) => output.push(line))
  }
})

/** A directory laid out and updated the way the kubelet does it. */
class MountedSecret {
  #versions = 0

  constructor(t, content) {
    this.directory = mkdtempSync(join(tmpdir(), 'consumer-'))
    t.after(() => rmSync(this.directory, { recursive: true }))
    this.update(content)
    symlinkSync('..data/client_secrets', join(this.directory, 'client_secrets'))
  }

  /** Replaces the symbolic link ..data with one to a new version. */
  update(content) {
    const version = `..${++this.#versions}`
    mkdirSync(join(this.directory, version))
    writeFileSync(join(this.directory, version, 'client_secrets'), content)
    symlinkSync(version, join(this.directory, '..data_tmp'))
    renameSync(join(this.directory, '..data_tmp'), join(this.directory, '..data'))
  }
}

/** Starts a token endpoint that accepts some secrets and records the secrets that it receives. */
async function startFakeAuth0(t) {
  const auth0 = { accepted: [], received: [], status: undefined }
  const server = createServer(async (request, response) => {
    const form = new URLSearchParams(await text(request))
    auth0.received.push(form.get('client_secret'))
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

async function setUp(t, content) {
  const mounted = new MountedSecret(t, content)
  const auth0 = await startFakeAuth0(t)
  const secrets = new Secrets(mounted.directory)
  const settings = {
    domain: 'acme.eu.auth0.com',
    endpoint: auth0.url,
    clientId: 'shop',
    audience: 'https://api.example',
  }
  return { mounted, auth0, secrets, login: new Login(settings, secrets) }
}

/** Asserts that a login tries exactly these secrets, in this order, and that the last is accepted. */
async function assertLogin({ auth0, login }, ...order) {
  auth0.received = []
  const { token, tries } = await login.token()
  assert.equal(token.access_token, 'token')
  assert.deepEqual(auth0.received, order)
  assert.equal(tries, order.length)
}

test('tries the list in order and remembers the accepted secret', async (t) => {
  const fixture = await setUp(t, '["a","b","c"]')
  fixture.auth0.accepted = ['b']
  await assertLogin(fixture, 'a', 'b')
  await assertLogin(fixture, 'b')
  fixture.mounted.update('["c","a","b"]')
  fixture.secrets.refresh()
  await assertLogin(fixture, 'b')
})

test('follows a staged rotation by watching', async (t) => {
  const fixture = await setUp(t, '["old"]')
  const watcher = fixture.secrets.watch()
  t.after(() => watcher.close())
  fixture.auth0.accepted = ['old']
  await assertLogin(fixture, 'old')

  fixture.mounted.update('["old","new"]')
  const deadline = Date.now() + 10_000
  while (fixture.secrets.list.length !== 2) {
    assert.ok(Date.now() < deadline, 'the new list was not read within 10 s')
    await sleep(5)
  }
  await assertLogin(fixture, 'old')

  fixture.auth0.accepted = ['new']
  await assertLogin(fixture, 'old', 'new')
  await assertLogin(fixture, 'new')
})

test('reads the list again before giving up', async (t) => {
  const fixture = await setUp(t, '["old"]')
  fixture.mounted.update('["new","old"]')
  fixture.auth0.accepted = ['new']
  await assertLogin(fixture, 'old', 'new')

  fixture.auth0.accepted = ['other']
  await assert.rejects(fixture.login.token(), { message: /rejected every secret/, tries: 4 })
})

test('keeps the previous list when the content is invalid, and never logs it', async (t) => {
  const fixture = await setUp(t, '["good"]')
  fixture.auth0.accepted = ['good']
  for (const invalid of ['', 'hidden', '{"hidden":1}', '[]', '[""]', '["hidden",3]', '["hidden"']) {
    fixture.mounted.update(invalid)
    assert.throws(() => fixture.secrets.refresh(), { message: /not a JSON array/ })
    fixture.secrets.refreshOrLog()
    await assertLogin(fixture, 'good')
  }
  rmSync(join(fixture.mounted.directory, 'client_secrets'))
  fixture.secrets.refreshOrLog()
  await assertLogin(fixture, 'good')
  assert.match(output.join('\n'), /keeping the previous list/)
  assert.doesNotMatch(output.join('\n'), /hidden|good/)
  const other = new MountedSecret(t, 'invalid')
  assert.throws(() => new Secrets(other.directory), { message: /not a JSON array/ })
})

test('tries the next secret only after a 401', async (t) => {
  const fixture = await setUp(t, '["a","b"]')
  for (const status of [403, 429, 500]) {
    fixture.auth0.status = status
    await assert.rejects(fixture.login.token(), { tries: 1 })
  }
})
