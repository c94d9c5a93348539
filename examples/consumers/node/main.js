import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Login } from './login.js'
import { Secrets } from './secrets.js'

function variable(name) {
  const value = process.env[name]
  if (!value) throw new Error(`${name} is not set`)
  return value
}

async function main() {
  const folder = process.env.AUTH0_SECRET_DIR || '/var/run/auth0'
  const settings = {
    domain: variable('AUTH0_DOMAIN'),
    endpoint: process.env.AUTH0_ENDPOINT || undefined,
    audience: variable('AUTH0_AUDIENCE'),
    clientId: readFileSync(join(folder, 'client_id'), 'utf8'),
  }
  const secrets = new Secrets(folder)
  const login = new Login(settings, secrets)
  if (!process.env.LOGIN_EVERY) {
    await login.token()
    return
  }
  const every = Number(process.env.LOGIN_EVERY)
  if (!(every > 0)) throw new Error('LOGIN_EVERY is not a number of seconds')
  secrets.watch()
  await repeat(login, every)
}

/**
 * Logs in until it is ended, and writes how it went. A service would keep each token until shortly
 * before its end (expiresIn()) and log in that often only.
 */
async function repeat(login, every) {
  let accepted = performance.now()
  for (;;) {
    const due = sleep(every * 1000)
    let outcome = 'accepted'
    let tries
    try {
      ;({ tries } = await login.token())
    } catch (error) {
      outcome = 'failed'
      tries = error.tries
      console.error(`consumer: ${error.message}`)
    }
    const gap = (performance.now() - accepted) / 1000
    if (outcome === 'accepted') accepted = performance.now()
    console.log(JSON.stringify({ login: outcome, tries, gap }))
    await due
  }
}

// The first process of a container isn't ended by a signal that it doesn't handle.
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(0))

try {
  await main()
} catch (error) {
  console.error(`consumer: ${error.message}`)
  process.exitCode = 1
}
