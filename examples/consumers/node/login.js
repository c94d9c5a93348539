import * as client from 'openid-client'

/** Gets tokens for a client whose secret changes. */
export class Login {
  #settings
  #secrets
  #works

  /** `settings`: domain, endpoint (optional), clientId, audience. */
  constructor(settings, secrets) {
    this.#settings = settings
    this.#secrets = secrets
  }

  /**
   * Logs in: with the secret that worked last, then with the list in its order, and once more with
   * what a fresh read of it has. An error, too, says how many secrets were tried.
   */
  async token() {
    let tries = 0
    for (let round = 0; round < 2; round++) {
      for (const secret of this.#candidates()) {
        tries++
        try {
          const token = await this.#ask(secret)
          this.#works = secret
          return { token, tries }
        } catch (error) {
          if (!isRefused(error)) throw Object.assign(error, { tries })
        }
      }
      this.#works = undefined
      this.#secrets.refreshOrComplain()
    }
    throw Object.assign(new Error('Auth0 refuses each secret of the list'), { tries })
  }

  #candidates() {
    const { list } = this.#secrets
    return this.#works ? [this.#works, ...list.filter((secret) => secret !== this.#works)] : list
  }

  #ask(secret) {
    const { domain, endpoint = `https://${domain}`, clientId, audience } = this.#settings
    const server = { issuer: `https://${domain}/`, token_endpoint: `${endpoint}/oauth/token` }
    const method = client.ClientSecretPost(secret)
    const configuration = new client.Configuration(server, clientId, undefined, method)
    configuration.timeout = 10
    // For tests: a real endpoint has https.
    if (endpoint.startsWith('http:')) client.allowInsecureRequests(configuration)
    return client.clientCredentialsGrant(configuration, { audience })
  }
}

/**
 * Whether it was the secret that Auth0 didn't accept: 401, with invalid_client or access_denied.
 * Another secret is of no use against any other answer.
 */
function isRefused(error) {
  return error.status === 401
}
