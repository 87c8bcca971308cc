export { Service } from './lib/service.js';
export { ContractError, readContract } from './lib/contract.js';
export { HandoverError, readHandover, writeHandover } from './lib/handover.js';
